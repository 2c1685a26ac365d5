"""`mlst join`: what was built in parts is what one build would have made; what does not fit is refused by name."""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collection.cli.commands import app
from mlst.dataset.description import DATASET, INDEX, LOCK, dataset_fingerprint, read_dataset, write_json
from mlst.dataset.index import read_index, write_index
from mlst.dataset.lock import footage_of, read_lock
from tests import tiny

TERMS = tiny.RECIPE.replace("sources =", 'levels = "p910-240p-v1"\nsources =')
QUOTA = TERMS.replace("[select]", "[select]\nquota = 1") + "\n[pack]\nshard_bytes = 65536\n"
PART = TERMS.replace('name = "tiny"', 'name = "part"').replace("sources.csv", "part.csv")
PARTS = 2


def copied(made: tiny.Material, one: str, other: str) -> tiny.Material:
    """The material, with the first clip of `other` showing what that of `one` does."""
    scan, first = made.scans[other], made.scans[one].clips[0]
    clips = (replace(scan.clips[0], fingerprint=first.fingerprint), *scan.clips[1:])
    return replace(made, scans={**made.scans, other: replace(scan, clips=clips)})


def of(made: tiny.Material, names: list[str]) -> tiny.Material:
    """The sources with these names."""
    return tiny.Material(*({name: group[name] for name in names} for group in (made.sources, made.videos, made.scans)))


@cache
def home() -> Path:
    """`one`, built at once, and `part0` ... of the same 6 sources, two of which show the same in different parts."""
    folder = Path(tempfile.mkdtemp(prefix="mlst-join-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = tiny.material(folder / "work", 6)
    names = sorted(made.sources)
    made = copied(made, names[0], names[1])
    (folder / "recipe.toml").write_text(QUOTA)
    tiny.build(folder / "work", folder / "one", made, QUOTA, shard_bytes=65536)
    for n in range(PARTS):
        tiny.build(folder / "work", folder / f"part{n}", of(made, names[n::PARTS]), PART)
    return folder


def join(folder: Path, *more: str) -> Result:
    parts = sorted(map(str, folder.glob("part?")))
    where = ["--recipe", str(folder / "recipe.toml"), "--out", str(folder / "out"), "--json"]
    return CliRunner().invoke(app, ["join", *parts, *where, *(more or ["--no-verify"])])


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(home(), tmp_path / "home"))


def test_parts_make_what_one_build_makes(here: Path) -> None:
    """Every byte: shards, index, lock, card, Croissant, description. The parts had no quota, the whole has one."""
    done = join(here, "--workers", "1")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["findings"] == said["limited"] == []
    assert said["dropped"].keys() == {"quota", "leak"}  # a clip is in train, its copy of another part in test
    assert contents(here / "out") == contents(here / "one")
    assert said["fingerprint"] == read_dataset(here / "one").fingerprint
    times = {path: path.stat().st_mtime_ns for path in (here / "out").rglob("*.tar")}
    again = join(here)
    assert again.exit_code == 0, again.output
    assert contents(here / "out") == contents(here / "one")
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_after_a_part_is_mended_the_same_command_goes_on(here: Path) -> None:
    sound = Path(shutil.copytree(here / "part1", here / "sound"))
    damage_shard(here / "part1")
    assert join(here).exit_code == 2
    shutil.rmtree(here / "part1")
    sound.rename(here / "part1")
    assert join(here).exit_code == 0
    assert contents(here / "out") == contents(here / "one")


def test_a_part_with_a_smaller_quota_is_named(here: Path) -> None:
    (here / "recipe.toml").write_text(QUOTA.replace("quota = 1", ""))
    resealed(here / "part1", lambda data: data.replace(b"[select]", b"[select]\nquota = 1000"), "recipe.toml")
    done = join(here)
    assert json.loads(done.stdout)["limited"] == [str(here / "part1")]


def test_a_source_in_two_parts_is_taken_once(here: Path) -> None:
    shutil.copytree(here / "part0", here / "part9")
    done = join(here)
    assert done.exit_code == 0, done.output
    assert contents(here / "out") == contents(here / "one")


def test_what_the_whole_excludes_is_left_out(here: Path) -> None:
    name = next(iter(read_index(here / "one" / INDEX))).info.source
    salted = hashlib.sha256(f"s{name}".encode()).hexdigest()
    (here / "exclusions.txt").write_text(f"salt = s\n{salted}\n")
    (here / "recipe.toml").write_text(QUOTA.replace("[scan]", 'exclusions = "exclusions.txt"\n[scan]', 1))
    done = join(here)
    assert done.exit_code == 0, done.output
    assert name not in {row.info.source for row in read_index(here / "out" / INDEX)}
    assert name not in (here / "out" / LOCK).read_text()
    assert salted in (here / "out" / "exclusions.txt").read_text()


def resealed(part: Path, change: Callable[[bytes], bytes], name: str) -> None:
    """Change a file of a part and let its description say so."""
    path = part / name
    path.write_bytes(change(path.read_bytes()))
    dataset = read_dataset(part)
    files = [
        replace(file, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        if file.path == name else file for file in dataset.files
    ]  # fmt: skip
    fingerprint = dataset_fingerprint(files, footage_of(read_lock(part / LOCK)))
    (part / DATASET).write_bytes(write_json(replace(dataset, files=tuple(files), fingerprint=fingerprint)))


def damage_shard(part: Path) -> None:
    """In a clip that the whole takes."""
    taken = {row.info.key for row in read_index(part.parent / "one" / INDEX)}
    first = next(row for row in read_index(part / INDEX) if row.info.key in taken)
    data = bytearray((part / first.shard).read_bytes())
    data[first.offset + 40] ^= 1
    (part / first.shard).write_bytes(data)


def other_tools(part: Path) -> None:
    dataset = read_dataset(part)
    tools = tuple(replace(t, version="0.0.1") if t.name in ("mlst scan", "yt-dlp") else t for t in dataset.tools)
    (part / DATASET).write_bytes(write_json(replace(dataset, tools=tools)))


def doubled(part: Path) -> None:
    """The same sources as another part, one of them fetched as another video."""
    shutil.rmtree(part)
    shutil.copytree(part.with_name("part0"), part)
    packets = next(iter(map(json.loads, (part / LOCK).read_text().splitlines())))["probe"]["packets_sha256"]
    resealed(part, lambda data: data.replace(packets.encode(), b"0" * 64), LOCK)


def other_clip(part: Path) -> None:
    """The same sources as another part, one clip of which is scored otherwise."""
    shutil.rmtree(part)
    shutil.copytree(part.with_name("part0"), part)
    rows = list(read_index(part / INDEX))
    with (part / INDEX).open("wb") as file:
        write_index(file, [replace(rows[0], sha256="0" * 64), *rows[1:]])
    resealed(part, lambda data: data, INDEX)


def twice(part: Path) -> None:
    """One key for two clips."""
    rows = list(read_index(part / INDEX))
    key = rows[0].info.key
    with (part / INDEX).open("wb") as file:
        write_index(file, [rows[0], replace(rows[1], info=replace(rows[1].info, key=key)), *rows[2:]])
    resealed(part, lambda data: data, INDEX)


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (damage_shard, "damaged", "are not the clip of its index"),
        (lambda part: (part / LOCK).write_text(""), "damaged", "sources.lock.jsonl is missing or not"),
        (lambda part: (part / DATASET).unlink(), "damaged", "dataset.json"),
        (
            lambda part: resealed(part, lambda data: data.replace(b"step = 6", b"step = 3"), "recipe.toml"),
            "recipe", "scan.step = 3, the recipe has 6",
        ),
        (lambda part: resealed(part, lambda data: data + b"\n", "levels.toml"), "levels", "is not that of the recipe"),
        (other_tools, "versions", "made with mlst scan 0.0.1"),
        (doubled, "source", "is another video than in"),
        (other_clip, "key", "is another clip than in"),
        (twice, "key", "duplicate clip keys"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(here: Path, spoil: Callable[[Path], None], kind: str, said: str) -> None:
    spoil(here / "part1")
    done = join(here)
    assert done.exit_code == 2, done.output
    found = json.loads(done.stdout)["refused"]
    assert {one["kind"] for one in found} == {kind}
    assert said in found[0]["what"]
    assert not (here / "out" / DATASET).exists()


def test_a_part_is_not_written_over(here: Path) -> None:
    done = CliRunner().invoke(
        app, ["join", str(here / "part0"), "--recipe", str(here / "recipe.toml"), "--out", str(here / "part0")]
    )
    assert done.exit_code == 2
    assert "lie in each other" in done.output
