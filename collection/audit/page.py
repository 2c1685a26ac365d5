"""An audit as one HTML page that asks the network for nothing, and as JSON."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.audit.look import FRAMES, STRIPS, Found
from collection.audit.shots import Audit, Judged
from collection.report.html import asset
from mlst.files import atomic
from mlst.text import one_line

WORST = 60
"""Broken clips whose frames are shown: about 100 kB each."""
UNREAD = 200
"""Clips that could not be looked at and are listed."""


def write_page(path: Path, audit: Audit) -> None:
    """Write the page of an audit."""
    environment = Environment(
        loader=PackageLoader("collection.audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("audit.html.j2").render(
        audit=audit,
        name=one_line(Path(audit.place).name or audit.place),
        style=asset("report.css"),
        facts=facts(audit),
        worst=audit.broken[:WORST],
        unread=audit.unread[:UNREAD],
        cut_short=sum(not one.seen.whole for one in audit.judged),
        longest=FRAMES,
        strips=STRIPS,
        where=where,
        one_line=one_line,
    )
    with atomic(path) as file:
        file.write(text.encode(errors="replace"))


def facts(audit: Audit) -> list[tuple[str, str]]:
    """The figures at the top: value and name."""
    bounds = audit.interval
    return [
        (f"{100 * audit.share:.1f} %", "of the clips are broken"),
        (f"{100 * bounds.low:.1f} to {100 * bounds.high:.1f} %", "95 % interval"),
        (f"{len(audit.broken):,} of {len(audit.judged):,}", "broken, of those looked at"),
        (f"{audit.total:,}", "clips in all"),
        (f"{audit.sources:,}" if audit.sources else "not known", "sources looked at"),
        (audit.detector, "looked"),
    ]


def where(found: Found, clip: Judged) -> str:
    """A transition in words."""
    seconds, kind = f"{float(found.start / clip.seen.rate):.2f} s", one_line(found.kind)
    if found.start == found.end:
        return f"{kind} before frame {found.start} of {clip.seen.frames} ({seconds})"
    return f"{kind}, frames {found.start} to {found.end - 1} of {clip.seen.frames} (from {seconds})"


def summary(audit: Audit, most: float | None) -> dict[str, Any]:
    """JSON-ready: all but the pictures. `most` is the largest share that is wanted, if one is."""
    bounds = audit.interval
    return {
        "place": audit.place,
        "detector": audit.detector,
        "seed": audit.seed,
        "clips": audit.total,
        "looked_at": len(audit.judged),
        "sources": audit.sources,
        "share": audit.share,
        "interval": [bounds.low, bounds.high],
        "max_share": most,
        "exceeded": None if most is None else audit.exceeds(most),
        "cut_short": sum(not one.seen.whole for one in audit.judged),
        "broken": [_broken(one) for one in audit.broken],
        "unread": [{"key": one.piece.key, "kind": one.kind, "detail": one.detail} for one in audit.unread],
    }


def _broken(clip: Judged) -> dict[str, Any]:
    found = [{"kind": f.kind, "start": f.start, "end": f.end, "change": f.change} for f in clip.seen.found]
    facts = {"key": clip.piece.key, "source": clip.piece.source, "frames": clip.seen.frames}
    return {**facts, "rate": str(clip.seen.rate), "transitions": found}
