"""What is wrong with a clip that was looked at, and with all of them together. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collection.audit.places import Piece
from collection.doctor.rules import Finding
from collection.doctor.said import Said
from collection.doctor.survey import Entry
from collection.doctor.watch import Watched
from mlst.levels.flags import STUTTER, only_camera
from mlst.pictures.fingerprints import link
from mlst.text import number_of

HIGH_DEFINITION = 720
STANDARD = ("smpte170m", "bt470bg")
BEYOND = 0.02
"""Share of luma far outside the nominal range."""
COMBED = 0.0005
FROZEN = 0.8
"""Share of frames that repeat the one before: coders refine a still picture over its first frames."""
SHOWN = 5
"""Transitions of a clip that are named."""
BARS = 0.03
"""Share of the picture: two lines of a clip of 256 are 1 %."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A clip that was looked at."""

    entry: Entry
    watched: Watched

    @property
    def piece(self) -> Piece:
        """Where it lies."""
        return self.entry.piece


def findings_of(seen: Seen) -> Iterator[Finding]:
    """Of one clip."""
    where, watched = seen.piece.key, seen.watched
    if watched.trouble:
        rule = "audio" if watched.trouble == "no_video" else "decode"
        yield Finding(rule, where, f"{watched.trouble}: {watched.detail}")
        return
    told = {**_stored(watched), **_shown(watched)}
    if watched.whole:
        told |= _against(watched, seen.entry.said)
    for rule, detail in told.items():
        if detail:
            yield Finding(rule, where, detail)


def _stored(w: Watched) -> dict[str, str]:
    high = min(w.width, w.height) >= HIGH_DEFINITION
    return {
        "damaged": f"{number_of(w.damaged, 'error')} in {number_of(w.frames, 'frame')}" if w.damaged else "",
        "variable": f"{w.uneven:.0%} of the distances between frames are unusual" if w.uneven > 0.05 else "",
        "interlaced": _interlaced(w),
        "range": f"{w.beyond:.1%} of its luma lies far outside" if w.beyond > BEYOND else "",
        "matrix": f"{w.width}x{w.height} with {w.matrix}" if high and w.matrix in STANDARD else "",
    }


def _interlaced(w: Watched) -> str:
    if w.interlaced:
        return "its frames are flagged so"
    return f"{w.comb:.2%} of its pixels comb, and its frames are not flagged so" if w.comb >= COMBED else ""


def _shown(w: Watched) -> dict[str, str]:
    frozen, black = w.repeats >= FROZEN, w.black >= 0.5
    still, panned = frozen or black, only_camera(w.speed, w.residual)
    return {
        "cut": f"before frame {_first(w.cuts)}" if w.cuts else "",
        "gradual": f"from frame {_first(w.graduals)} on" if w.graduals else "",
        "black": f"{w.black:.0%} of {w.frames} frames" if black else "",
        "frozen": f"{w.repeats:.0%} of {w.frames} frames" if frozen and not black else "",
        "stutter": f"{w.held:.0%} of its frames" if w.held >= STUTTER and not still else "",
        "static": f"TI {w.ti10:.2f}" if w.ti10 < 1 and not still else "",
        "bars": f"{w.bars:.0%} of the picture" if w.bars > BARS and not black else "",
        "camera": f"{w.speed:.1f} % of the width per second, {w.residual:.1f} % besides" if panned else "",
    }


def _first(frames: Sequence[int]) -> str:
    """The first of some numbers, and how many more there are."""
    more = len(frames) - SHOWN
    return ", ".join(map(str, frames[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _against(w: Watched, said: Said) -> dict[str, str]:
    """Where a container or a record says something else."""
    frames = next((one for one in (said.frames, w.said_frames) if one and _far(w.frames, one, 0.01, 1)), 0)
    seconds = next((one for one in (said.seconds, w.said_seconds) if one and _far(w.seconds, one, 0.03, 0.2)), 0.0)
    size = (said.width or w.width, said.height or w.height)
    rate = float(w.rate)
    return {
        "frames": f"{w.frames} are there, {frames} are declared" if frames else "",
        "duration": f"{w.seconds:.2f} s are there, {seconds:.2f} s are declared" if seconds and not frames else "",
        "rate": f"{rate:.3f} a second, {said.rate:.3f} on record"
        if said.rate and _far(rate, said.rate, 0.01, 0)
        else "",
        "size": f"{w.width}x{w.height}, on record {size[0]}x{size[1]}" if size != (w.width, w.height) else "",
    }


def _far(real: float, declared: float, share: float, least: float) -> bool:
    return abs(real - declared) > max(share * declared, least)


def doubles(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Clips that show the same footage: of two splits, or of two sources; of one known source they may."""
    told = [one for one in seen if one.watched.fingerprint]
    pairs: dict[str, set[str]] = defaultdict(set)
    for i, j in link(one.watched.fingerprint for one in told):
        a, b = told[i], told[j]
        if a.entry.said.split != b.entry.said.split:
            yield Finding("leak", a.piece.key, f"{a.entry.said.split}; in {b.entry.said.split} as {b.piece.key}")
        elif not a.piece.source or a.piece.source != b.piece.source:
            pairs[a.piece.key].add(b.piece.key)
    for key, others in pairs.items():
        yield Finding("double", key, f"as {', '.join(sorted(others)[:3])}{' ...' if len(others) > 3 else ''}")
