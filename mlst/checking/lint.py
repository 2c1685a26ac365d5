"""What the Hub, its viewer, `datasets` and browsers ask of a dataset beyond the format itself.

`verify` has the traps that make our own format (keys, schema, order, counts, shards); these are the others. The
limits are those of the Hub's documentation ("Repository limitations and recommendations", 2026).
"""

import contextlib
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlst.checking.verify import Finding
from mlst.dataset.about import unanswered
from mlst.dataset.card import HUB_LICENCES, front_matter, read_card
from mlst.dataset.croissant import CROISSANT, croissant
from mlst.dataset.description import CARD, DATASET, INDEX, LOCK, Dataset, File, read_dataset
from mlst.dataset.description import LARGEST as LARGEST_FILE
from mlst.dataset.index import Row, read_index
from mlst.dataset.lock import read_lock
from mlst.dataset.shards import LARGEST, PATH
from mlst.inside import content, file_in, opened
from mlst.pictures.mp4 import NotAClip, track_of

RULES = {
    "name": "file names are portable, differ in more than case, and are none that Git or the Hub obeys",
    "limit": "files, entries of a folder and sizes stay below the Hub's limits",
    "yaml": "README.md begins with YAML that the Hub accepts: licence, size category, one default configuration",
    "glob": "every configuration's patterns match files, each file in one split only, and `default` every shard",
    "picture": "every picture that README.md shows is there",
    "browser": "every clip is H.264 4:2:0, 8 bit, its header in front, so that browsers and the viewer play it",
    "croissant": "croissant.json, where there is one, is what dataset.json, the lock and the files give",
}


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What a repository may hold."""

    files: int
    entries: int
    """Of one folder."""
    bytes: int
    """Of one file."""
    characters: int
    """Of a path."""


HUB = HubLimits(files=100_000, entries=10_000, bytes=200 * 10**9, characters=255)

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
OBEYED = {".gitattributes", ".gitignore", ".gitmodules", ".huggingface.yaml", "dataset_infos.json"}
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""
CONFIG = re.compile(r"[A-Za-z0-9_.-]+")
IMAGE = re.compile(r"(?<!\\)!\[[^\]]*\]\(([^)\s]+)\)")


def lint(folder: Path) -> tuple[Finding, ...]:
    """Findings of `RULES` in the dataset in `folder`. What `verify` reports as unreadable is passed over."""
    try:
        dataset = read_dataset(folder)
    except (OSError, ValueError):
        return ()
    findings = {*lint_files(folder, dataset, dataset.files, HUB), *_videos(folder, dataset.side, _rows(folder))}
    return tuple(sorted(findings))


def advice(dataset: Dataset) -> Iterator[str]:
    """What `croissant.json` does not say and conferences ask for, a sentence each: how to say it, and what for.

    No finding: only the dataset's maker can answer, and an invented answer would be worse than none.
    """
    about = dataset.about
    for name, said in (("published", about.published), ("url", about.url), ("creators", about.creators)):
        if not said:
            yield f"{name} is not set in the recipe; Croissant requires it of published datasets"
    for question in unanswered(dataset):
        yield f"[rai] {question.setting} is not set in the recipe: {question.why} ({question.property})"


def lint_files(folder: Path, dataset: Dataset, files: Sequence[File], limits: HubLimits) -> Iterator[Finding]:
    """Findings in everything but the clips of a folder with these files, whether it holds clips or not."""
    paths = [file.path for file in files]
    yield from _names(paths)
    yield from _limits(files, limits)
    yield from _readme(folder, dataset, paths)
    if CROISSANT in paths and (folder / CROISSANT).is_file():
        others = [file for file in files if file.path not in (CROISSANT, DATASET)]
        yield from _croissant(folder, dataset, others)


def _croissant(folder: Path, dataset: Dataset, others: Sequence[File]) -> Iterator[Finding]:
    try:
        wanted = croissant(dataset, others, read_lock(folder / LOCK))
        if content(folder / CROISSANT, LARGEST_FILE) != wanted:
            yield Finding("croissant", CROISSANT, "", "is not what dataset.json, the lock and the files give")
    except (OSError, ValueError, KeyError) as why:
        yield Finding("croissant", CROISSANT, "", f"cannot be compared: {why}")


def _names(paths: Sequence[str]) -> Iterator[Finding]:
    for path in paths:
        for part in path.split("/"):
            if not NAME.fullmatch(part) or RESERVED.fullmatch(part) or part in OBEYED:
                yield Finding("name", path, "", f"{part!r} is not portable, or has a meaning of its own on the Hub")
    for name, count in Counter(path.casefold() for path in paths).items():
        if count > 1:
            yield Finding("name", name, "", f"{count} files differ only in case")


def _limits(files: Sequence[File], limits: HubLimits) -> Iterator[Finding]:
    if len(files) >= limits.files:
        yield Finding("limit", "", "", f"{len(files)} files; below {limits.files} are allowed, so use larger shards")
    entries: dict[str, set[str]] = defaultdict(set)
    for file in files:
        parts = file.path.split("/")
        for i, part in enumerate(parts):
            entries["/".join(parts[:i])].add(part)
        if file.size > limits.bytes:
            yield Finding("limit", file.path, "", f"{file.size} bytes; at most {limits.bytes} are allowed")
        if len(file.path) > limits.characters:
            yield Finding("limit", file.path, "", f"{len(file.path)} characters in its path")
    for name, inside in sorted(entries.items()):
        if len(inside) >= limits.entries:
            yield Finding("limit", name, "", f"{len(inside)} entries in a folder; below {limits.entries} are allowed")


def _readme(folder: Path, dataset: Dataset, paths: Collection[str]) -> Iterator[Finding]:
    try:
        read, body = read_card(folder)
    except (OSError, ValueError) as why:
        yield Finding("yaml", CARD, "", f"no YAML front matter: {why}")
        return
    for detail in _front(read, dataset):
        yield Finding("yaml", CARD, "", detail)
    for detail in _globs(read.get("configs"), dataset, paths):
        yield Finding("glob", CARD, "", detail)
    for name in IMAGE.findall(body):
        if name not in paths and not name.startswith("https://"):
            yield Finding("picture", CARD, "", f"shows {name!r}, which is not there")


def _front(front: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """What is wrong with the YAML besides the patterns."""
    licence, wanted = front.get("license"), front_matter(dataset)
    if not isinstance(licence, str) or not HUB_LICENCES.fullmatch(licence):
        yield f"license {licence!r} is not an identifier of the Hub; use one of its list, or 'other' with license_name"
    for name in ("size_categories", "task_categories"):
        if front.get(name) != wanted[name]:
            yield f"{name} is {front.get(name)!r}, not {wanted[name]!r}"
    configs = front.get("configs")
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        yield "no configs: without them, one stray file decides how the whole repository is read"
        return
    names = [str(config.get("config_name")) for config in configs]
    for name, count in Counter(names).items():
        if count > 1 or not CONFIG.fullmatch(name):
            yield f"configuration {name!r} is a duplicate or does not match {CONFIG.pattern}"
    if [config.get("default") for config in configs].count(True) != 1:
        yield "there is not one default configuration"


def _globs(configs: Any, dataset: Dataset, paths: Collection[str]) -> Iterator[str]:
    """What is wrong with what the configurations' patterns match."""
    for config in configs if isinstance(configs, list) else ():
        name, found = config.get("config_name"), Counter[str]()
        data_files = config.get("data_files")
        if not isinstance(data_files, list) or not data_files:
            yield f"configuration {name!r} has no data_files"
            continue
        for one in data_files:
            pattern = one.get("path") if isinstance(one, dict) else None
            matched = [path for path in paths if isinstance(pattern, str) and _pattern(pattern).fullmatch(path)]
            found.update(matched)
            if not matched:
                yield f"configuration {name!r}: {pattern!r} matches no file, and `datasets` fails on an empty list"
        if twice := sorted(path for path, count in found.items() if count > 1):
            yield f"configuration {name!r}: {twice[0]!r} is in more than one split"
        missed = [shard.path for shard in dataset.shards if shard.path in paths and shard.path not in found]
        if config.get("default") and missed:
            yield f"configuration {name!r} is the default, but leaves out {missed[0]!r}"


def _pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of `datasets` (fsspec's): `*` and `?` stay within a folder, `**` does not."""
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", pattern)))


def _rows(folder: Path) -> Iterator[Row]:
    """The rows of the index as far as they can be read."""
    with contextlib.suppress(OSError, ValueError):
        yield from read_index(folder / INDEX)


def _videos(folder: Path, side: int, rows: Iterable[Row]) -> Iterator[Finding]:
    for row in rows:
        if not PATH.fullmatch(row.shard) or row.offset < 0 or not 0 <= row.size <= LARGEST:
            continue
        try:
            with opened(file_in(folder, row.shard)) as shard:
                shard.seek(row.offset)
                mp4 = shard.read(row.size)
        except (OSError, ValueError):
            continue
        if detail := unplayable(mp4, side):
            yield Finding("browser", row.shard, row.info.key, detail)


def unplayable(mp4: bytes, side: int) -> str:
    """Why a browser would not play a clip while it arrives, "" if it would."""
    try:
        track = track_of(mp4)
    except NotAClip as why:
        return f"not H.264 in MP4: {why}"
    if (track.width, track.height) != (side, side):
        return f"{track.width}x{track.height}, not {side}x{side}"
    if pixels := _odd_pixels(track.settings):
        return f"h264 {pixels}, not of 8 bits with 4:2:0"
    kinds = list(_boxes(mp4))
    if "moov" not in kinds or "mdat" in kinds[: kinds.index("moov")]:
        return f"its header comes after the pictures ({', '.join(kinds)}); write it with movflags=faststart"
    return ""


def _odd_pixels(settings: bytes) -> str:
    """What pixels are, by the decoder's configuration (ISO/IEC 14496-15, 5.3.3.1.2); "" for 8 bits with 4:2:0, which
    all that profiles before High have."""
    try:
        if settings[1] in (66, 77, 88):
            return ""
        at = 5
        for mask in (31, 255):  # of the numbers of sequence and of picture parameter sets
            count, at = settings[at] & mask, at + 1
            for _ in range(count):
                at += 2 + int.from_bytes(settings[at : at + 2])
        chroma, luma_bits, chroma_bits = settings[at] & 3, 8 + (settings[at + 1] & 7), 8 + (settings[at + 2] & 7)
    except IndexError:
        return "that does not say what its pixels are"
    known = (chroma, luma_bits, chroma_bits) == (1, 8, 8)
    return "" if known else f"of {luma_bits} bits with {('4:0:0', '4:2:0', '4:2:2', '4:4:4')[chroma]}"


def _boxes(mp4: bytes) -> Iterator[str]:
    """Types of the top-level boxes (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(mp4):
        size, kind = struct.unpack_from(">I4s", mp4, at)
        if size == 1 and at + 16 <= len(mp4):
            (size,) = struct.unpack_from(">Q", mp4, at + 8)
        yield kind.decode("latin-1")
        if size == 0:
            return
        at += max(size, 8)
