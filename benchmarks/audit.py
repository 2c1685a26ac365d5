"""What an audit of shots sees: clips of 30 frames with planted transitions, and without: `python -m benchmarks.audit`.

Clips are cut from splices (`tests/splices`, hold-out footage, x264): one transition inside at a random place, or
none, but perhaps a flash, a brightness step, a freeze or a whip pan. `--keep FOLDER` leaves them there as a dataset.
"""

import argparse
import contextlib
import itertools
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from collection.audit.look import look
from mlst.records import Transition
from tests.splices import HOLD_OUT, Frames, Recipe, Splice, encode, load, splice

LENGTH = 30
EDGE = 2
"""Frames at either end of a clip where the middle of no transition is planted."""
APART = 3
"""Frames between a clip that is whole and the next transition: the margin of a recipe."""
CRFS = (23, 35)
RECIPE = Recipe(transitions=24, shortest=2 * LENGTH, longest=3 * LENGTH)


@dataclass(frozen=True)
class Planted:
    """A clip, and what is in it."""

    kind: str
    """`cut`, `dissolve`, `fade`; or of a whole clip its distractor, or `nothing`."""
    broken: bool
    frames: Frames


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splices", type=int, default=5, help="splices of 24 transitions each")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--detectors", nargs="+", default=["transnetv2", "mlst"])
    parser.add_argument("--keep", type=Path, help="folder for the clips")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    shots = [load(footage) for footage in HOLD_OUT]
    seen: Counter[tuple[bool, str]] = Counter()
    found: defaultdict[str, Counter[tuple[bool, str]]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    with contextlib.nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder:
        for number, clip in enumerate(clips(shots, options.splices, options.seed)):
            path = Path(folder) / f"{number:04d}-{clip.kind}.mp4"
            encode(clip.frames, path, CRFS[number % 2])
            what = (clip.broken, clip.kind)
            seen[what] += 1
            for name in options.detectors:
                begin = time.process_time()
                found[name][what] += bool(look(path, name).found)
                seconds[name] += time.process_time() - begin
    print(table(seen, found, seconds))


def clips(shots: Sequence[Frames], splices: int, seed: int) -> Iterator[Planted]:
    """From every splice a clip for each transition, and as many without."""
    for number in range(splices):
        made = splice(shots, RECIPE, seed + number)
        rng = np.random.default_rng(seed + number)
        for transition in made.transitions:
            middle = (transition.start + transition.end) // 2
            start = middle - int(rng.integers(EDGE, LENGTH - EDGE + 1))
            if start >= 0 and start + LENGTH <= len(made.frames):
                yield Planted(transition.kind, True, made.frames[start : start + LENGTH])
        for start in rng.permutation(whole(made))[: len(made.transitions)]:
            yield Planted(distractor(made, int(start)), False, made.frames[start : start + LENGTH])


def whole(made: Splice) -> list[int]:
    """Where clips can begin that no transition touches."""
    edges = [Transition("end", 0, 0), *made.transitions, Transition("end", len(made.frames), len(made.frames))]
    spans = [(a.end + APART, b.start - APART) for a, b in itertools.pairwise(edges)]
    return [start for first, last in spans for start in range(first, last - LENGTH + 1, LENGTH // 2)]


def distractor(made: Splice, start: int) -> str:
    """What may be mistaken for a transition in the clip that begins at `start`."""
    kinds = [d.kind for d in made.distractors if d.start < start + LENGTH and d.end > start]
    return kinds[0] if kinds else "nothing"


def table(seen: Counter[tuple[bool, str]], found: dict[str, Counter[tuple[bool, str]]], seconds: Counter[str]) -> str:
    """One row for each thing in clips, and the CPU time of each detector."""
    names = list(found)
    lines = [
        f"| in the clip | clips | {' | '.join(f'`{name}`' for name in names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for broken, title in ((True, "found, of those with one"), (False, "found, of those without")):
        kinds = sorted(kind for is_broken, kind in seen if is_broken == broken)
        for kind in kinds:
            hits = (f"{found[name][broken, kind]}" for name in names)
            lines.append(f"| {kind} | {seen[broken, kind]} | {' | '.join(hits)} |")
        clips_ = sum(seen[broken, kind] for kind in kinds)
        sums = (sum(found[name][broken, kind] for kind in kinds) for name in names)
        lines.append(
            f"| **{title}** | {clips_} | {' | '.join(f'{n} ({100 * n / max(1, clips_):.1f} %)' for n in sums)} |"
        )
    each = (f"{seconds[name] / max(1, seen.total()):.2f} s" for name in names)
    return "\n".join([*lines, f"| CPU time per clip | | {' | '.join(each)} |"])


if __name__ == "__main__":
    main()
