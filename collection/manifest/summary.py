"""What is in a manifest, in numbers."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from collection.addresses import host_of
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


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
