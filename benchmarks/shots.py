"""Compare all shot detectors on spliced ground truth: `python -m benchmarks.shots --help`.

The splices are made by `tests/splices.py` from the demo's clips: real footage, exact truth, x264 at two qualities.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

from benchmarks.shot_scores import Evaluation, Score, evaluate
from collection.detectors import Thumb, detector, make_detector
from mlst.records import Transition
from tests.splices import HOLD_OUT, RATE, TUNING, Footage, Frames, Recipe, decoded, encode, load, same_scene, splice

TOLERANCES = (0, 1, 2)
CRFS = (23, 35)
CUTS_OF_A_SCENE = 9


@dataclass
class Tally:
    """What one detector came to over all videos."""

    spliced: dict[int, Evaluation]
    """By tolerance."""
    same_scene: Evaluation
    """On cuts between views of one scene, at tolerance 1."""
    single: Evaluation
    """On footage without transitions."""
    seconds: float
    frames: int


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("tuning", "hold-out"), default="hold-out", help="which footage")
    parser.add_argument("--splices", type=int, default=6, help="splices of 24 transitions each")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    tallies = run(tuple(detector), HOLD_OUT if options.set == "hold-out" else TUNING, options.splices, options.seed)
    print(table(tallies))


def run(names: Sequence[str], footage: Sequence[Footage], splices: int, seed: int) -> dict[str, Tally]:
    """Every detector on `splices` splices at each of `CRFS`, and on single shots."""
    shots = [load(f) for f in footage]
    tallies = {
        name: Tally(dict.fromkeys(TOLERANCES, Evaluation()), Evaluation(), Evaluation(), 0.0, 0) for name in names
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        for i in range(splices):
            made = splice(shots, Recipe(), seed + i)
            for crf in CRFS:
                encode(made.frames, path, crf)
                score(tallies, list(decoded(path)), made.transitions)
        for i, shot in enumerate(shots):
            made = same_scene(shot, CUTS_OF_A_SCENE, seed + i)
            encode(made.frames, path, CRFS[i % 2])
            for name, found in found_by(tallies, list(decoded(path))).items():
                tallies[name].same_scene += evaluate(made.transitions, found, len(made.frames), 1)
        for i, shot in enumerate([*shots, *disturbed(shots, seed)]):
            encode(shot, path, CRFS[i % 2])
            score(tallies, list(decoded(path)), ())
    return tallies


def disturbed(shots: Sequence[Frames], seed: int) -> list[Frames]:
    """Three times as many single shots, each with a flash, brightness step, freeze or whip pan."""
    recipe = Recipe(transitions=0, distractors=1.0, shortest=60)
    return [splice(shots, recipe, seed + i).frames for i in range(3 * len(shots))]


def score(tallies: dict[str, Tally], seen: Sequence[Thumb], truth: Sequence[Transition]) -> None:
    """Add one video to the tallies; without truth it is one of a single shot."""
    for name, found in found_by(tallies, seen).items():
        if not truth:
            tallies[name].single += evaluate(truth, found, len(seen), 0)
            continue
        for tolerance in TOLERANCES:
            tallies[name].spliced[tolerance] += evaluate(truth, found, len(seen), tolerance)


def found_by(tallies: dict[str, Tally], seen: Sequence[Thumb]) -> dict[str, list[Transition]]:
    """What every detector finds in one video; notes what that took."""
    everything = {}
    for name, tally in tallies.items():
        made = make_detector(name, {}, Fraction(RATE))
        begin = time.process_time()
        everything[name] = [t for thumb in seen for t in made.push(thumb)] + made.finish()
        tally.seconds += time.process_time() - begin
        tally.frames += len(seen)
    return everything


def table(tallies: dict[str, Tally]) -> str:
    """Markdown: one row per detector, the best by overall F1 at tolerance 1 first."""
    lines = [
        "| detector | F1 overall, tolerance 0 / 1 / 2 | overall P / R | cut P / R | dissolve P / R | fade P / R "
        "| cut P / R within one scene | gradual found as anything | leaked frames "
        "| false per 1000 frames of single shots | µs per frame |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, tally in sorted(tallies.items(), key=lambda item: (-item[1].spliced[1].overall.f1, item[0])):
        e = tally.spliced[1]
        f1 = " / ".join(f"{100 * tally.spliced[tolerance].overall.f1:.1f}" for tolerance in TOLERANCES)
        kinds = " | ".join(map(_pair, (e.overall, e.cut, e.dissolve, e.fade)))
        leaked = f"{100 * e.leaked / max(1, e.inside):.1f} %"
        lines.append(
            f"| `{name}` | {f1} | {kinds} | {_pair(tally.same_scene.overall)} "
            f"| {100 * e.gradual.recall:.1f} % | {leaked} | {tally.single.false_per_1000:.2f} "
            f"| {1e6 * tally.seconds / tally.frames:.0f} |"
        )
    some = next(iter(tallies.values()))
    kinds = {kind: _truths(getattr(some.spliced[1], kind)) for kind in ("cut", "dissolve", "fade")}
    counts = ", ".join(f"{n} {kind}s" for kind, n in kinds.items())
    lines += ["", f"{counts} in {some.spliced[1].frames} frames; {some.single.frames} frames of single shots."]
    return "\n".join(lines)


def _truths(score: Score) -> int:
    return score.hits + score.missed


def _pair(score: Score) -> str:
    return f"{100 * score.precision:.1f} / {100 * score.recall:.1f}"


if __name__ == "__main__":
    main()
