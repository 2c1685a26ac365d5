"""A part: a dataset whose files are what it says they are, and what speaks against joining it with others."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collection.join.terms import Terms
from collection.recipe import Recipe, read_recipe
from mlst.dataset.description import (
    EXCLUSIONS,
    INDEX,
    LOCK,
    RECIPE,
    REVIEW,
    THRESHOLDS,
    Dataset,
    File,
    dataset_fingerprint,
    read_dataset,
)
from mlst.dataset.exclusions import parse_exclusions
from mlst.dataset.index import Row, read_index
from mlst.dataset.lock import LockRow, footage_of, read_lock
from mlst.dataset.shards import PATH
from mlst.exits import UserError
from mlst.inside import content, file_in, opened

SHOWN = 20
"""Findings that an error spells out."""
FREE = {
    "name", "version", "title", "description", "licence", "contact", "published", "url", "creators", "sources",
    "levels", "exclusions", "rai", "pack", "select.quota", "select.review",
}  # fmt: skip
"""Settings in which a part may differ from the whole: they change no clip, or are compared as files."""
HARMLESS = {"yt-dlp"}
"""Tools that change no clip of a video that was fetched."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason not to join."""

    kind: str
    """`damaged`, `recipe`, `levels`, `versions`, `exclusions`, `review`, `source` (fetched otherwise in another part)
    or `key` (another clip in another part)."""
    part: str
    what: str


class JoinError(UserError, ValueError):
    """Parts that do not fit together; the text names the remedy."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        lines = [f"{one.part}: {one.kind}: {one.what}" for one in findings[:SHOWN]]
        more = [f"... and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else []
        super().__init__("\n".join(["nothing was joined", *lines, *more]))
        self.findings = tuple(findings)


class PlaceError(UserError, ValueError):
    """A part that would be overwritten."""


@dataclass(frozen=True, slots=True)
class Part:
    """A dataset that is to be joined."""

    name: str
    """As the user calls it."""
    folder: Path
    dataset: Dataset
    recipe: Recipe

    @property
    def alias(self) -> str:
        """What the plans of shards call it, wherever it lies."""
        return f"part-{self.dataset.fingerprint[:16]}"

    def rows(self) -> Iterator[Row]:
        """Its index."""
        return read_index(self.folder / INDEX)

    def lock(self) -> Iterator[LockRow]:
        """Its sources, by id."""
        return read_lock(self.folder / LOCK)

    def text(self, name: str) -> bytes:
        """A file that lists something; empty where there is none."""
        sizes = {file.path: file.size for file in self.dataset.files}
        return content(file_in(self.folder, name), sizes[name]) if name in sizes else b""


def check_places(parts: Iterable[Path], out: Path, work: Path) -> None:
    """Raise `PlaceError` where a part lies in what is written, or the other way round."""
    for part in (path.resolve() for path in parts):
        for place in (out.resolve(), work.resolve()):
            if part.is_relative_to(place) or place.is_relative_to(part):
                raise PlaceError(f"{part} and {place} lie in each other; give --out and --work other folders")


def read_part(folder: Path) -> Part:
    """The dataset in `folder`, whose tables have been hashed; shards are, clip by clip, when they are read. Raises
    `JoinError` for one that is damaged."""
    name = str(folder)
    try:
        dataset = read_dataset(folder)
        wrong = [file.path for file in dataset.files if not _sound(folder, file)]
        if wrong:
            what = f"{wrong[0]} is missing or not as dataset.json says"
            raise JoinError([Finding("damaged", name, f"{what}; run `mlst verify --repair {name}`")])
        if dataset_fingerprint(dataset.files, footage_of(read_lock(folder / LOCK))) != dataset.fingerprint:
            raise JoinError([Finding("damaged", name, "dataset.json has another fingerprint than its files")])
        return Part(name, folder.resolve(), dataset, read_recipe(folder / RECIPE))
    except (OSError, ValueError) as why:
        if isinstance(why, JoinError):
            raise
        raise JoinError([Finding("damaged", name, f"{why}; run `mlst verify {name}`")]) from None


def check_parts(parts: Sequence[Part], terms: Terms) -> Iterator[Finding]:
    """What speaks against joining these parts under these terms."""
    for part in parts:
        yield from _other_settings(part, terms)
        if part.text(THRESHOLDS) != terms.levels_toml:
            yield Finding("levels", part.name, f"its {THRESHOLDS} is not that of the recipe; build it with the same")
        if part.text(REVIEW) != terms.review_csv:
            yield Finding("review", part.name, f"its {REVIEW} is not that of the recipe; build it with the same marks")
        yield from _forgotten(part, terms)
        yield from _other_versions(part, parts[0])


def limited(parts: Iterable[Part], terms: Terms) -> tuple[str, ...]:
    """Parts whose quota may have left out clips that one build would have chosen."""
    wanted = terms.recipe.select.quota
    return tuple(p.name for p in parts if (quota := p.recipe.select.quota) and (not wanted or quota < wanted))


def _sound(folder: Path, file: File) -> bool:
    try:
        path = file_in(folder, file.path)
        if path.stat().st_size != file.size:
            return False
        if PATH.fullmatch(file.path):
            return True
        with opened(path) as data:
            return hashlib.file_digest(data, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _other_settings(part: Part, terms: Terms) -> Iterator[Finding]:
    here, whole = (dict(_flat(recipe.model_dump(mode="json"))) for recipe in (part.recipe, terms.recipe))
    for name in sorted(here.keys() | whole.keys()):
        if here.get(name) != whole.get(name):
            what = f"{name} = {here.get(name)!r}, the recipe has {whole.get(name)!r}"
            yield Finding("recipe", part.name, f"{what}; build it with the setting of the whole")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if prefix + name in FREE:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _forgotten(part: Part, terms: Terms) -> Iterator[Finding]:
    if text := part.text(EXCLUSIONS):
        refused = parse_exclusions(text, EXCLUSIONS)
        if refused.salt != terms.exclusions.salt or refused.hashes - terms.exclusions.hashes:
            what = f"it excludes sources that the recipe does not; add the lines of its {EXCLUSIONS} to one list"
            yield Finding("exclusions", part.name, f"{what} with salt = {refused.salt}")


def _other_versions(part: Part, first: Part) -> Iterator[Finding]:
    here, there = ({t.name: t.version for t in p.dataset.tools if t.name not in HARMLESS} for p in (part, first))
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            what = f"made with {name} {here.get(name, 'unknown')}, {first.name} with {there.get(name, 'unknown')}"
            yield Finding("versions", part.name, f"{what}; build it with the same versions")
    if part.dataset.statistics != first.dataset.statistics:
        yield Finding(
            "versions", part.name, f"it has other statistics than {first.name}; scan it for the same columns"
        )
