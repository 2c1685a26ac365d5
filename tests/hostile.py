"""Datasets as an attacker would hand them on: each a sound, very small one with one thing changed.

Run as a program, `python -m tests.hostile FOLDER NAME...`, it sends a sound one and the named ones, which `made` made
in the folder, through every command that reads datasets, and prints what each of them said, a line of JSON each, and
the most memory so far.
"""

import io
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlst.dataset.description import (
    CARD,
    DATASET,
    EXCLUSIONS,
    INDEX,
    LOCK,
    RECIPE,
    THRESHOLDS,
    File,
    dataset_fingerprint,
    read_json,
    write_json,
)
from mlst.dataset.index import index_schema
from tests import tiny

Change = Callable[[Path], None]
HOSTILE: dict[str, Change] = {}
STAGE = ".cache/mlst-takedown"


def hostile(change: Change) -> Change:
    """Register a change that makes a sound dataset hostile, under its own name."""
    HOSTILE[change.__name__] = change
    return change


def made(name: str, top: Path) -> Path:
    """The hostile dataset `name`, in a folder of its own below `top`, beside a file that must stay as it is."""
    folder = top / name / "a" / "dataset"
    shutil.copytree(tiny.built(), folder)
    (top / name / "victim.txt").write_text("mine\n")
    if name != "sound":
        HOSTILE[name](folder)
    return folder


def reseal(folder: Path, **changes: Any) -> None:
    """Make `dataset.json` list the files as they are now, so that only what was changed is wrong."""
    dataset = replace(read_json(folder / DATASET), **changes)
    files = tuple(
        File(file.path, (folder / file.path).stat().st_size, sha256((folder / file.path).read_bytes()).hexdigest())
        for file in dataset.files
        if (folder / file.path).is_file()
    )
    shards = tuple(
        replace(shard, size=file.size, sha256=file.sha256)
        for shard in dataset.shards
        for file in files
        if file.path == shard.path
    )
    dataset = replace(dataset, files=files, shards=shards, fingerprint=dataset_fingerprint(files, dataset.footage))
    (folder / DATASET).write_bytes(write_json(dataset))


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `dataset.json` as JSON; its fingerprint stays that of the files."""
    value = json.loads((folder / DATASET).read_bytes())
    change(value)
    files = [File(**file) for file in value["files"]]
    value["fingerprint"] = dataset_fingerprint(files, value["footage"])
    (folder / DATASET).write_text(json.dumps(value, sort_keys=True, indent=1) + "\n")


def front(folder: Path, yaml: str) -> None:
    """Another front matter."""
    body = (folder / CARD).read_text().split("---\n", 2)[2]
    (folder / CARD).write_text(f"---\n{yaml}\n---\n{body}")
    reseal(folder)


def toml(folder: Path, name: str, text: bytes) -> None:
    """Text at the end of a TOML file."""
    (folder / name).write_bytes((folder / name).read_bytes() + text)
    reseal(folder)


def index(folder: Path, change: Callable[[Any], Any], **options: Any) -> None:
    """Another index."""
    table = change(pq.read_table(folder / INDEX))
    pq.write_table(table, folder / INDEX, **({"compression": "zstd", "store_schema": False} | options))
    reseal(folder)


def column(table: Any, name: str, values: list[Any]) -> Any:
    """The table with other values in a column."""
    place = table.schema.get_field_index(name)
    return table.set_column(
        place,
        index_schema(table.schema.names).field(name),
        pa.array(values, index_schema(table.schema.names).field(name).type),
    )


def replaced(table: Any, name: str, values: Any) -> Any:
    """The table with other values in a column, of any type."""
    return table.set_column(table.schema.get_field_index(name), pa.field(name, values.type, nullable=False), values)


def clips(folder: Path, mp4: bytes) -> None:
    """Another video in all clips of all shards, the index true to it."""
    from mlst.dataset.index import read_index, write_index
    from mlst.dataset.shards import ClipFiles, open_shard, write_shard

    rows = {row.info.key: row for row in read_index(folder / INDEX)}
    for shard in read_json(folder / DATASET).shards:
        samples = [ClipFiles(sample.key, mp4, sample.json) for sample, _ in open_shard(folder / shard.path)]
        with (folder / shard.path).open("wb") as file:
            written = write_shard(file, samples)
        for member in written.members:
            row = rows[member.key]
            rows[member.key] = replace(row, offset=member.offset, size=member.size, sha256=member.sha256)
    with (folder / INDEX).open("wb") as file:
        write_index(file, rows.values())
    reseal(folder)


def video(codec: str, container: str, pixels: str, side: int = tiny.SIDE, frames: int = tiny.FRAMES) -> bytes:
    """A video of another kind, with the brand of MP4."""
    import av
    import numpy as np

    file = io.BytesIO()
    with av.open(file, "w", format=container) as made:
        stream = made.add_stream(codec, rate=30)
        stream.width = stream.height = side
        stream.pix_fmt = pixels
        for shade in range(frames):
            picture = np.full((side, side, 3), shade % 256, np.uint8)
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode())
    data = file.getvalue()
    return data[:8] + b"isom" + data[12:] if data[4:8] == b"ftyp" else data


def first_shard(folder: Path) -> Path:
    """Path of a shard."""
    return folder / read_json(folder / DATASET).shards[0].path


def pipe(path: Path) -> None:
    """A FIFO in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, target: str) -> None:
    """A link in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)


@hostile
def yaml_aliases(folder: Path) -> None:
    """A billion laughs."""
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    front(folder, "\n".join(["a0: &a0 [x, x, x]", *rows, "configs: *a11"]))


@hostile
def yaml_brackets(folder: Path) -> None:
    """Nested too deep."""
    front(folder, "configs: " + "[" * 1000)


@hostile
def yaml_long_number(folder: Path) -> None:
    """A number that Python refuses to show."""
    front(folder, "license: 1" + ":59" * 60_000)


@hostile
def yaml_bad_date(folder: Path) -> None:
    """An error that is none of YAML's."""
    front(folder, "configs: 2001-99-99")


@hostile
def yaml_python(folder: Path) -> None:
    """A tag that runs a program, where it is believed."""
    front(folder, "configs: !!python/object/apply:os.system ['touch /tmp/owned']")


@hostile
def card_not_text(folder: Path) -> None:
    """No UTF-8."""
    (folder / CARD).write_bytes(b"---\n\xff\xfe: 1\n---\n")
    reseal(folder)


@hostile
def levels_brackets(folder: Path) -> None:
    """Thresholds nested too deep."""
    (folder / THRESHOLDS).write_bytes(b"id = " + b"[" * 1000)
    reseal(folder)


@hostile
def levels_dotted_key(folder: Path) -> None:
    """A key of very many parts."""
    (folder / THRESHOLDS).write_bytes(b"a." * 100_000 + b"b = 1")
    reseal(folder)


@hostile
def recipe_brackets(folder: Path) -> None:
    """A recipe nested too deep."""
    toml(folder, RECIPE, b"\nx = " + b"[" * 1000)


@hostile
def levels_pipe(folder: Path) -> None:
    """A pipe that nobody writes to."""
    pipe(folder / THRESHOLDS)


@hostile
def index_pipe(folder: Path) -> None:
    """A pipe that nobody writes to."""
    pipe(folder / INDEX)


@hostile
def shard_pipe(folder: Path) -> None:
    """A pipe that nobody writes to."""
    pipe(first_shard(folder))


@hostile
def description_pipe(folder: Path) -> None:
    """A pipe that nobody writes to."""
    pipe(folder / DATASET)


@hostile
def exclusions_pipe(folder: Path) -> None:
    """A pipe that is not listed."""
    pipe(folder / EXCLUSIONS)


@hostile
def shard_device(folder: Path) -> None:
    """A file without an end."""
    link(first_shard(folder), "/dev/zero")


@hostile
def lock_link(folder: Path) -> None:
    """A link to a file outside."""
    link(folder / LOCK, "../../victim.txt")


@hostile
def folder_link(folder: Path) -> None:
    """A folder that is a link."""
    shutil.move(folder / "metadata", folder.parent / "elsewhere")
    link(folder / "metadata", "../elsewhere")


@hostile
def description_key_twice(folder: Path) -> None:
    """Readers differ on which of two values counts."""
    text = (folder / DATASET).read_text()
    (folder / DATASET).write_text(text.replace("{\n", '{\n "side": 8,\n', 1))


@hostile
def description_utf_16(folder: Path) -> None:
    """Readers differ on whether this is JSON."""
    (folder / DATASET).write_bytes((folder / DATASET).read_text().encode("utf-16"))


@hostile
def description_brackets(folder: Path) -> None:
    """Nested too deep."""
    (folder / DATASET).write_text("[" * 100_000)


@hostile
def description_of_lists(folder: Path) -> None:
    """20 MB of empty lists: gigabytes where they are read."""
    (folder / DATASET).write_text("[" + "[]," * 6_000_000 + "[]]")


@hostile
def clip_json_key_twice(folder: Path) -> None:
    """In a shard."""
    from mlst.dataset.shards import ClipFiles, open_shard, write_shard

    path = first_shard(folder)
    samples = [sample for sample, _ in open_shard(path)]
    samples[0] = ClipFiles(samples[0].key, samples[0].mp4, b'{"key":"x",' + samples[0].json[1:])
    with path.open("wb") as file:
        write_shard(file, samples)
    reseal(folder)


@hostile
def lock_utf_16(folder: Path) -> None:
    """Readers differ on whether this is JSON."""
    (folder / LOCK).write_bytes((folder / LOCK).read_text().encode("utf-16"))
    reseal(folder)


@hostile
def lock_one_line(folder: Path) -> None:
    """A line without an end."""
    (folder / LOCK).write_bytes(b'{"source": "' + b"x" * (32 << 20))
    reseal(folder)


@hostile
def side_of_a_million(folder: Path) -> None:
    """3 TB a frame."""
    edited(folder, lambda value: value.update(side=10**6))


@hostile
def side_below_zero(folder: Path) -> None:
    """No picture."""
    edited(folder, lambda value: value.update(side=-64))


@hostile
def frames_without_end(folder: Path) -> None:
    """More than memory."""
    edited(folder, lambda value: value.update(frames=10**12))


@hostile
def clips_without_end(folder: Path) -> None:
    """More than there are."""
    edited(folder, lambda value: value.update(clips=10**15))


@hostile
def unknown_split_rule(folder: Path) -> None:
    """A split that there is not."""
    edited(folder, lambda value: value["split_rule"].update(group="password"))


@hostile
def path_above(folder: Path) -> None:
    """A file of the user's."""
    edited(folder, lambda value: value["files"].append({"path": "../../victim.txt", "size": 5, "sha256": "0" * 64}))


@hostile
def path_absolute(folder: Path) -> None:
    """A file of the system's."""
    edited(folder, lambda value: value["files"].append({"path": "/etc/passwd", "size": 5, "sha256": "0" * 64}))


@hostile
def path_twice(folder: Path) -> None:
    """One file with two hashes."""
    edited(folder, lambda value: value["files"].append(dict(value["files"][0])))


@hostile
def size_of_a_terabyte(folder: Path) -> None:
    """An index that is one hole."""
    os.truncate(folder / INDEX, 1 << 40)
    edited(folder, lambda value: [file.update(size=1 << 40) for file in value["files"] if file["path"] == INDEX])


@hostile
def shard_of_a_terabyte(folder: Path) -> None:
    """A shard that ends in one hole."""
    os.truncate(first_shard(folder), 1 << 40)


@hostile
def staged_above(folder: Path) -> None:
    """A takedown that seems to have been interrupted: its rest replaces files two levels up."""
    shutil.copytree(tiny.built(), folder / STAGE)
    edited(folder / STAGE, lambda value: value["files"][0].update(path="../../victim.txt"))
    (folder / ".cache" / "victim.txt").write_text("theirs\n")


@hostile
def staged_through_a_link(folder: Path) -> None:
    """A staging folder that is elsewhere."""
    shutil.move(folder / "data", folder.parent / "elsewhere")
    link(folder / "data", "../elsewhere")
    (folder / ".cache").symlink_to("../..")
    reseal(folder)


@hostile
def bomb_of_one_text(folder: Path) -> None:
    """One text that stands in every row: a few kB that are 2 GB."""
    once = pa.array(["x" * (40 << 20)])
    index(folder, lambda t: replaced(t, "title", pa.DictionaryArray.from_arrays(pa.array([0] * len(t)), once)))


@hostile
def bomb_of_rows(folder: Path) -> None:
    """Ten million equal rows."""
    index(folder, lambda t: t.slice(0, 1).take(pa.array([0] * 300_000)))


@hostile
def bomb_of_pages(folder: Path) -> None:
    """Pages that claim 2 GiB each."""
    index(folder, lambda t: t, compression="gzip", use_dictionary=False)
    data = bytearray((folder / INDEX).read_bytes())
    metadata = pq.ParquetFile(folder / INDEX).metadata
    for number in range(metadata.num_columns):
        at = metadata.row_group(0).column(number).data_page_offset
        claims_much(data, at)
    (folder / INDEX).write_bytes(data)
    reseal(folder)


def claims_much(data: bytearray, at: int) -> None:
    """Give a page's header the largest size that fits its bytes: a varint of as many bytes as there are."""
    from mlst.dataset.parquet import _Thrift

    header = _Thrift(bytes(data[at + 3 : at + 16]))  # behind: type; then the head of the field
    header.number()
    for place in range(header.at - 1):
        data[at + 3 + place] = 0xFF
    data[at + 3 + header.at - 1] = 0x7E


@hostile
def index_of_other_columns(folder: Path) -> None:
    """Not ours."""
    index(folder, lambda t: pa.table({"key": ["x"]}))


@hostile
def index_truncated(folder: Path) -> None:
    """Cut off, and sealed again."""
    os.truncate(folder / INDEX, (folder / INDEX).stat().st_size // 2)
    reseal(folder)


@hostile
def index_flipped(folder: Path) -> None:
    """A bit in its footer."""
    data = bytearray((folder / INDEX).read_bytes())
    data[-600] ^= 0x10
    (folder / INDEX).write_bytes(data)
    reseal(folder)


@hostile
def shard_of_the_index_elsewhere(folder: Path) -> None:
    """A path in the index that leads out."""
    index(folder, lambda t: column(t, "shard", ["../../victim.txt"] * len(t)))


@hostile
def endless_fractions(folder: Path) -> None:
    """Times whose sum has ever more digits."""
    index(folder, lambda t: column(t, "end", [f"{10**39 + n}/{10**39 - 7 * n - 1}" for n in range(len(t))]))


@hostile
def clip_of_png(folder: Path) -> None:
    """Another decoder."""
    clips(folder, video("png", "mov", "rgb24"))


@hostile
def clip_of_jpeg_2000(folder: Path) -> None:
    """Another decoder."""
    clips(folder, video("jpeg2000", "mov", "rgb24"))


@hostile
def clip_in_matroska(folder: Path) -> None:
    """Another demuxer."""
    clips(folder, video("libx264", "matroska", "yuv420p"))


@hostile
def clip_of_another_size(folder: Path) -> None:
    """Pictures of 50 MB."""
    clips(folder, video("libx264", "mp4", "yuv420p", side=4096, frames=1))


@hostile
def clip_of_many_frames(folder: Path) -> None:
    """More frames than declared."""
    clips(folder, video("libx264", "mp4", "yuv420p", frames=3000))


@hostile
def clip_that_is_a_playlist(folder: Path) -> None:
    """A file that names others."""
    clips(folder, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")


def loaded(folder: Path) -> None:
    """Every clip of a dataset."""
    import mlst

    for split in ("train", "validation", "test"):
        loaded = mlst.load(folder, split=split, past=3, horizon=3)
        for number in range(len(loaded)):
            loaded[number]


def commands(folder: Path) -> Mapping[str, Callable[[], object]]:
    """What reads a dataset, by the name of its command; each gives findings, or raises a typed error.

    `publish` begins with `verify` and `lint`, and is given what those have just found.
    """
    from collection.release import prepare
    from collection.report.html import report_on
    from collection.report.inspection import inspect
    from collection.upkeep.takedown import takedown
    from mlst.checking.lint import lint
    from mlst.checking.verify import verify
    from mlst.dataset.diff import diff

    row, verified, linted = next(iter(KNOWN)), cache(lambda: verify(folder, 0)), cache(lambda: lint(folder))
    vars(prepare).update(verify=lambda *_: verified(), lint=lambda *_: linted())
    return {
        "verify": lambda: verified().findings,
        "lint": linted,
        "load": lambda: loaded(folder),
        "inspect": lambda: inspect(folder, row, folder.parent / "sheet.png"),
        "report": lambda: report_on(folder, folder.parent / "report.html", 1, folder.parent / "none"),
        "publish": lambda: prepare.prepare(folder, folder.parent / "release", "ids", (), 0),
        "diff": lambda: diff(tiny.built(), folder),
        "takedown": lambda: takedown(folder, [KNOWN[row]]),
    }


def known() -> dict[str, str]:
    """The sources of the sound dataset's clips, by their keys."""
    table = pq.read_table(tiny.built() / INDEX, columns=["key", "source"])
    return dict(zip(table["key"].to_pylist(), table["source"].to_pylist(), strict=True))


KNOWN: dict[str, str] = {}


def said(folder: Path) -> Iterator[dict[str, Any]]:
    """What each command said, and the seconds of CPU time that it took."""
    from mlst.exits import UserError
    from mlst.loading import LoadError, ReadError

    for name, command in commands(folder).items():
        began, what = time.process_time(), "sound"
        try:
            found = command()
            what = f"{len(found)} findings" if isinstance(found, tuple) and found else "sound"
        except (UserError, LoadError, ReadError) as why:
            what = f"{type(why).__name__}: {str(why)[:300]}"
        except BaseException as why:
            what = f"untyped {type(why).__name__}: {str(why)[:300]}"
        victim = (folder.parent.parent / "victim.txt").read_text() == "mine\n"
        yield {"command": name, "said": what, "seconds": time.process_time() - began, "victim": victim}


def main() -> None:
    """Tell what becomes of datasets."""
    top, names = Path(sys.argv[1]), sys.argv[2:]
    KNOWN.update(known())
    for name in ("sound", *names):
        for line in said(top / name / "a" / "dataset"):
            print(json.dumps({"name": name, **line}), flush=True)
        print(json.dumps({"name": name, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}))


if __name__ == "__main__":
    main()
