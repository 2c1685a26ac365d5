"""Every trap of `datasets`, `webdataset` and the Hub, seeded into a sound dataset: `verify` or `lint` names it."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mlst.checking.lint import HUB, RULES, HubLimits, _pattern, lint, lint_files, unplayable
from mlst.checking.verify import Finding, verify
from mlst.dataset.croissant import CROISSANT, croissant
from mlst.dataset.description import CARD, DATASET, INDEX, File, read_json
from mlst.dataset.index import read_index
from mlst.dataset.shards import ClipFiles, open_shard, write_shard
from tests import tiny
from tests.mlst.checking.test_verify import change, first_shard, reseal, row, shard, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound dataset to break."""
    return Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))


def hub(folder: Path) -> tuple[Finding, ...]:
    """What `mlst verify --hub` finds."""
    return (*verify(folder, 0).findings, *lint(folder))


def test_a_sound_dataset_has_no_findings(folder: Path) -> None:
    assert hub(folder) == ()


# -- Traps of the loaders, which the format's own rules exclude


def members(folder: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the first shard's members."""
    return [
        (sample.key + suffix, data)
        for sample, _ in open_shard(first_shard(folder))
        for suffix, data in ((".mp4", sample.mp4), (".json", sample.json))
    ]


def rewrite(folder: Path, content: list[tuple[str, bytes]]) -> None:
    """Replace the first shard by a tar with these members, whatever they are."""
    path = first_shard(folder)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    reseal(folder)


def in_json(folder: Path, number: int, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the JSON of one clip of the first shard."""

    def apply(samples: list[ClipFiles]) -> list[ClipFiles]:
        value = json.loads(samples[number].json)
        edit(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        return [replace(s, json=text) if i == number else s for i, s in enumerate(samples)]

    shard(folder, apply)


def dot_in_key(folder: Path) -> None:
    rewrite(folder, [(name.replace("_", ".", 1), data) for name, data in members(folder)])


def int_then_float(folder: Path) -> None:
    in_json(folder, 0, lambda value: value["statistics"].update(si=50))


def null_then_text(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.update(title=None))


def empty_list_then_numbers(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.update(title=[]))


def mixed_list(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.update(title=[1, "a"]))


def beyond_64_bits(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.update(first_frame=2**63))


def missing_field(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.pop("title"))


def extra_field(folder: Path) -> None:
    in_json(folder, 0, lambda value: value.update(extra=1))


def missing_member(folder: Path) -> None:
    rewrite(folder, members(folder)[1:])


def extra_member(folder: Path) -> None:
    content = members(folder)
    rewrite(folder, [*content[:2], (content[0][0].replace(".mp4", ".txt"), b"x"), *content[2:]])


def not_contiguous(folder: Path) -> None:
    rewrite(folder, sorted(members(folder), key=lambda member: member[0].rsplit(".", 1)[1]))


def duplicate_member(folder: Path) -> None:
    rewrite(folder, members(folder)[:2] * 2)


def duplicate_key_across_shards(folder: Path) -> None:
    one, two = sorted({row.shard for row in read_index(folder / INDEX)})[:2]
    samples = [sample for sample, _ in open_shard(folder / one)]
    with (folder / two).open("wb") as file:
        write_shard(file, samples)
    reseal(folder)


def empty_shard(folder: Path) -> None:
    rewrite(folder, [])


def stray_side_file(folder: Path) -> None:
    (folder / "data" / "index.json").write_text("{}")


def listed_side_file(folder: Path) -> None:
    (folder / "data" / "index.json").write_text("{}")
    add(folder, "data/index.json")


def wrong_split_counts(folder: Path) -> None:
    dataset = read_json(folder / DATASET)
    change(folder, cells=(replace(dataset.cells[0], clips=99), *dataset.cells[1:]))


def wrong_counts_in_the_card(folder: Path) -> None:
    card(folder, "- config_name: default\n  features:", "- config_name: default\n  splits:\n  - name: train\n"
         "    num_examples: 99\n  features:")  # fmt: skip


def no_configs(folder: Path) -> None:
    card(folder, "configs:\n", "other:\n")


def empty_glob(folder: Path) -> None:
    card(folder, "path: data/*/train-*.tar", "path: data/*/training-*.tar")


def glob_in_two_splits(folder: Path) -> None:
    card(folder, "path: data/*/train-*.tar", "path: data/*/t*-*.tar")


def two_defaults(folder: Path) -> None:
    card(folder, "- config_name: s0t0\n  data_files", "- config_name: s0t0\n  default: true\n  data_files")


def other_features(folder: Path) -> None:
    card(folder, "dtype: float64", "dtype: int64")


def key_twice_in_yaml(folder: Path) -> None:
    card(folder, "license: cc-by-4.0\n", "license: cc-by-4.0\nlicense: mit\n")


def licence_of_no_list(folder: Path) -> None:
    card(folder, "license: cc-by-4.0\n", "license: CC-BY\n")


def wrong_size_category(folder: Path) -> None:
    card(folder, "- n<1K\n", "- 1M<n<10M\n")


def no_front_matter(folder: Path) -> None:
    card(folder, "---\nlicense", "# Title\n---\nlicense")


def picture_that_is_not_there(folder: Path) -> None:
    card(folder, "\n## Load", "\n![levels](assets/levels.png)\n\n## Load")


def gitignore(folder: Path) -> None:
    (folder / ".gitignore").write_text("*.tar")
    add(folder, ".gitignore")


def names_that_differ_in_case(folder: Path) -> None:
    (folder / "Readme.md").write_text("x")
    add(folder, "Readme.md")


def name_of_a_device(folder: Path) -> None:
    (folder / "aux.txt").write_text("x")
    add(folder, "aux.txt")


def stale_croissant(folder: Path) -> None:
    dataset = read_json(folder / DATASET)
    (folder / CROISSANT).write_bytes(croissant(replace(dataset, version="0.0.1"), dataset.files, []))
    add(folder, CROISSANT)


def video(folder: Path, data: bytes) -> None:
    """Make `data` the first clip's video."""
    shard(folder, lambda samples: [replace(samples[0], mp4=data), *samples[1:]])


def vp9(folder: Path) -> None:
    video(folder, encoded("libvpx-vp9", "yuv420p", "faststart"))


def yuv444(folder: Path) -> None:
    video(folder, encoded("libx264", "yuv444p", "faststart"))


def header_behind(folder: Path) -> None:
    video(folder, encoded("libx264", "yuv420p", ""))


def encoded(codec: str, pixels: str, movflags: str) -> bytes:
    """As many frames of the right size in another coding."""
    path = Path(tiny.built()).parent / f"{codec}-{pixels}-{movflags}.mp4"
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as media:
        stream = media.add_stream(codec, rate=tiny.RATE)
        stream.width, stream.height, stream.pix_fmt = tiny.SIDE, tiny.SIDE, pixels
        for _ in range(tiny.FRAMES):
            grey = np.full((tiny.SIDE, tiny.SIDE, 3), 90, np.uint8)
            media.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        media.mux(stream.encode())
    return path.read_bytes()


def card(folder: Path, old: str, new: str) -> None:
    """Edit README.md, which has to contain `old`."""
    text = (folder / CARD).read_text(encoding="utf-8")
    assert old in text
    (folder / CARD).write_text(text.replace(old, new, 1), encoding="utf-8")
    reseal(folder)


def add(folder: Path, name: str) -> None:
    """List a file in dataset.json, or what became of it."""
    dataset = read_json(folder / DATASET)
    data = (folder / name).read_bytes()
    others = [file for file in dataset.files if file.path != name]
    files = [*others, File(name, len(data), hashlib.sha256(data).hexdigest())]
    write(folder, replace(dataset, files=tuple(sorted(files, key=lambda file: file.path))))


TRAPS: tuple[tuple[Callable[[Path], None], str], ...] = (
    (dot_in_key, "shard"),
    (int_then_float, "schema"),
    (null_then_text, "schema"),
    (empty_list_then_numbers, "schema"),
    (mixed_list, "schema"),
    (beyond_64_bits, "record"),
    (missing_field, "schema"),
    (extra_field, "schema"),
    (missing_member, "shard"),
    (extra_member, "shard"),
    (not_contiguous, "shard"),
    (duplicate_member, "shard"),
    (duplicate_key_across_shards, "place"),
    (empty_shard, "shard"),
    (stray_side_file, "stray"),
    (listed_side_file, "dataset"),
    (wrong_split_counts, "count"),
    (wrong_counts_in_the_card, "card"),
    (no_configs, "yaml"),
    (empty_glob, "glob"),
    (glob_in_two_splits, "glob"),
    (two_defaults, "yaml"),
    (other_features, "card"),
    (key_twice_in_yaml, "yaml"),
    (licence_of_no_list, "yaml"),
    (wrong_size_category, "yaml"),
    (no_front_matter, "yaml"),
    (picture_that_is_not_there, "picture"),
    (gitignore, "name"),
    (names_that_differ_in_case, "name"),
    (name_of_a_device, "name"),
    (stale_croissant, "croissant"),
    (vp9, "browser"),
    (yuv444, "browser"),
    (header_behind, "browser"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("trap", "rule"), TRAPS, ids=lambda value: getattr(value, "__name__", value))
def test_trap_is_found(folder: Path, trap: Callable[[Path], None], rule: str) -> None:
    trap(folder)
    found = {finding.rule for finding in hub(folder)}
    assert rule in found, f"found only {found}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [{"shard": "/dev/zero", "size": 1 << 60}, {"offset": -5}, {"size": 1 << 60}, {"fingerprint": "zz"}]
)
def test_rows_that_lie(folder: Path, values: dict[str, Any]) -> None:
    """Nothing but clips is read; what is wrong is for `verify` to say."""
    row(folder, **values)
    assert {finding.rule for finding in lint(folder)} == {"croissant"}  # which has the hash of the true index
    assert verify(folder, 0).findings


def test_what_is_missing_is_passed_over(folder: Path) -> None:
    stale_croissant(folder)
    for name in (CROISSANT, INDEX):
        (folder / name).unlink()
    assert lint(folder) == ()
    assert {finding.path for finding in hub(folder) if finding.rule == "missing"} == {CROISSANT, INDEX}


# -- The Hub's limits


def limited(**changes: int) -> set[str]:
    """Details of what is found under other limits."""
    dataset = read_json(tiny.built() / DATASET)
    limits = replace(HUB, **changes)
    found = list(lint_files(tiny.built(), dataset, dataset.files, limits))
    assert {finding.rule for finding in found} <= {"limit"}
    return {f"{finding.path}: {finding.detail}" for finding in found}


def test_limits() -> None:
    files = read_json(tiny.built() / DATASET).files
    assert limited() == set()
    assert limited(files=len(files) + 1) == set()
    assert any(f"{len(files)} files" in text for text in limited(files=len(files)))
    assert any(text.startswith("data: 9 entries") for text in limited(entries=9))
    largest = max(files, key=lambda file: file.size)
    assert limited(bytes=largest.size) == set()
    assert {text.split(":")[0] for text in limited(bytes=largest.size - 1)} == {largest.path}
    longest = max(len(file.path) for file in files)
    assert limited(characters=longest) == set()
    assert limited(characters=longest - 1)


def test_limits_are_those_of_the_hub() -> None:
    assert HubLimits(files=100_000, entries=10_000, bytes=200_000_000_000, characters=255) == HUB


# -- Parts


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("data/*/train-*.tar", "data/s0t0/train-00000-of-00001.tar", True),
        ("data/*/train-*.tar", "data/s0t0/deeper/train-0.tar", False),
        ("data/*/train-*.tar", "data/s0t0/train-0xtar", False),
        ("data/**/train-*.tar", "data/a/b/train-0.tar", True),
        ("metadata/clips.parquet", "metadata/clips.parquet", True),
        ("data/s?t0/*", "data/s1t0/x", True),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert (_pattern(pattern).fullmatch(path) is not None) == matches


def test_playable_clips() -> None:
    assert unplayable(tiny.mp4(0), tiny.SIDE) == ""
    assert unplayable(b"no video", tiny.SIDE) != ""
    assert "moov" in unplayable(encoded("libx264", "yuv420p", ""), tiny.SIDE)


def test_unreadable_datasets_are_left_to_verify(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"x")
    assert lint(folder) == ()
    (folder / DATASET).unlink()
    assert lint(folder) == ()
    assert hub(folder) != ()


def test_every_rule_is_documented_and_tested() -> None:
    tested = {rule for _, rule in TRAPS} | {"limit"}
    assert set(RULES) <= tested
    text = (Path(__file__).parents[3] / "docs" / "publishing.md").read_text(encoding="utf-8")
    for rule, meaning in RULES.items():
        assert f"| `{rule}` | {meaning} |" in text
