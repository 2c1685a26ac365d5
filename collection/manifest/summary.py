"""What is in a manifest, in numbers."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from collection.addresses import host_of
from collection.licences import accepted, forbidden
from collection.recipe import FetchSettings
from mlst.records import OPEN_END, Source


def summary(rows: tuple[Source, ...]) -> dict[str, Any]:
    """Counts of a manifest for `show`; labels behind a list's name in the provenance are left off."""
    spans = [row.end - row.start for row in rows if row.end != OPEN_END]
    return {
        "rows": len(rows),
        "videos": len({row.url for row in rows}),
        "groups": len({row.group for row in rows}),
        "span_seconds": float(sum(spans)),
        "whole_videos": len(rows) - len(spans),
        "licence": _counts(row.licence for row in rows),
        "host": _counts(host_of(row.url) for row in rows),
        "provenance": _counts(row.provenance.split(": ")[0] for row in rows),
    }


@dataclass(frozen=True, slots=True)
class LicenceRow:
    """Sources under one licence, as the manifest states it."""

    licence: str
    sources: int
    seconds: float
    """Of their spans; videos without an end count as 0."""
    accepted: bool
    """By the recipe."""
    pixels: bool
    """Whether clips under it may be published, `mlst publish --mode clips`, as far as the manifest knows."""


def by_licence(rows: Iterable[Source], fetch: FetchSettings, whole: str) -> tuple[LicenceRow, ...]:
    """The commonest licence first; `whole` is the licence of the dataset."""
    found: dict[str, list[Source]] = {}
    for row in rows:
        found.setdefault(row.licence, []).append(row)
    table = [
        LicenceRow(
            licence,
            len(those),
            float(sum(row.end - row.start for row in those if row.end != OPEN_END)),
            not fetch.licences or accepted(licence, fetch.licences),
            not forbidden(licence, whole),
        )
        for licence, those in found.items()
    ]
    return tuple(sorted(table, key=lambda row: (-row.sources, row.licence)))


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
