"""Compare all shot detectors on spliced ground truth: `python -m benchmarks.shots --help`.

`tests/splices` makes the videos from the demo's clips and from drawings; the truth about them is exact.
"""

import argparse
import csv
import hashlib
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cv2

from benchmarks.shot_scores import Score, gap, leaks, match, typed
from collection import detectors
from collection.detectors import Thumb, detector, make_detector, thumb
from collection.media.decode import open_video
from collection.media.probe import probe
from collection.recipe import Limits
from mlst.records import Transition
from tests.splices import CLIPS, HOLD_OUT, TUNING, Footage, decoded, encode
from tests.splices.distractors import DISTRACTORS
from tests.splices.families import CARTOONS, FAMILIES, Sample, footage, samples
from tests.splices.footage import FILMS, LabelledFilm

TOLERANCE, MARGIN = 1, 3
"""Frames by which a find may miss, and that clips leave out beside a transition (the recipe's default)."""
SEEDS = {"tuning": 1, "hold-out": 2}
SLOW = ("transnetv2", "mlst+transnet")
"""Detectors that see one video of three."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Clip:
    """A rendered video and the truth about it."""

    file: Path
    name: str
    family: str
    truth: tuple[Transition, ...]
    rate: int
    frames: int


@dataclass
class Tally:
    """What one detector came to on one family."""

    typed: Score = field(default_factory=Score)
    any: Score = field(default_factory=Score)
    """Whatever the kind."""
    inside: int = 0
    leaked: int = 0
    """Frames of true gradual transitions, and those of them that clips would contain."""
    frames: int = 0
    clips: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass
class Outcome:
    """What one detector came to."""

    families: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    seconds: float = 0.0
    decoding: float = 0.0
    """CPU time for the detector, and for decoding the same videos and making thumbs of them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=tuple(SEEDS), default="hold-out", help="which half")
    parser.add_argument("--detectors", nargs="+", choices=tuple(detector), default=tuple(detector))
    parser.add_argument("--cache", type=Path, help="folder that keeps videos and finds: run again, it goes on")
    parser.add_argument("--media", type=Path, help="folder of more footage; its footage.csv has file,start,end,set")
    parser.add_argument("--films", type=Path, action="append", default=[CLIPS], help="folder of labelled films")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with folder(options.cache) as place:
        clips = list(rendered(options.set, options.media, place))
        print(tables(compare(options.detectors, clips)))
    print(films(options.detectors, FILMS[options.set], options.films))


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """The folder that videos go to."""
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def rendered(half: str, media: Path | None, place: Path) -> Iterator[Clip]:
    """The videos of a half; those that are in `place` already are not made again."""
    here = place / half
    index = here / "index.json"
    if not index.exists():
        here.mkdir(parents=True, exist_ok=True)
        clips = [_render(sample, here) for sample in _samples(half, media)]
        index.write_text(json.dumps(clips))
    for name, family, truth, rate, frames in json.loads(index.read_text()):
        transitions = tuple(Transition(kind, start, end) for kind, start, end in truth)
        yield Clip(here / _file(name), name, family, transitions, rate, frames)


def _samples(half: str, media: Path | None) -> Iterator[Sample]:
    films = footage(TUNING if half == "tuning" else HOLD_OUT, CLIPS)
    if media is not None:
        with (media / "footage.csv").open(newline="") as rows:
            more = [
                Footage(r["file"], int(r["start"]), int(r["end"])) for r in csv.DictReader(rows) if r["set"] == half
            ]
        films |= footage(more, media)
    return samples(films, SEEDS[half])


def _render(sample: Sample, here: Path) -> tuple[str, str, list[tuple[str, int, int]], int, int]:
    encode(sample.frames, here / _file(sample.name), sample.crf, sample.pts)
    truth = [(t.kind, t.start, t.end) for t in sample.truth]
    return sample.name, sample.family, truth, sample.rate, len(sample.frames)


def _file(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name) + ".mp4"


def compare(names: Sequence[str], clips: Iterable[Clip]) -> dict[str, Outcome]:
    """Every detector on all videos; the slow ones on every third. What lies beside a video is not found again."""
    outcomes = {name: Outcome() for name in names}
    versions = {name: version(name) for name in names}
    for number, clip in enumerate(clips):
        seen = cache(lambda clip=clip: list(decoded(clip.file)))
        decoding = _kept(clip.file.with_suffix(".decoding.json"), lambda seen=seen: _timed(seen)[0])
        for name in names:
            if name not in SLOW or number % 3 == 0:
                path = clip.file.with_suffix(f".{name}.{versions[name]}.json")
                seconds, found = _kept(path, lambda name=name, clip=clip, seen=seen: _found(name, clip.rate, seen()))
                outcomes[name].decoding += decoding
                outcomes[name].seconds += seconds
                _add(outcomes[name], clip, [Transition(*f) for f in found])
    return outcomes


def version(name: str) -> str:
    """Of what a detector finds: a digest of all files that have a part in it."""
    here = Path(detectors.__file__).parent
    parts = (
        ("thumbs.py", "transnet.py", "transnetv2.py") if name == "transnetv2" else ("pyscenedetect.py", "thumbs.py")
    )
    if "mlst" in name:
        parts = tuple(sorted(p.name for p in here.iterdir() if p.suffix in (".py", ".npz")))
    return hashlib.sha256(b"".join((here / part).read_bytes() for part in parts)).hexdigest()[:8]


def _kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds; made and written if there is none."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """(CPU seconds, result)."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def _found(name: str, rate: int, seen: Sequence[Thumb]) -> tuple[float, list[tuple[str, int, int]]]:
    """(CPU seconds, kind, start and end of what a detector finds)."""
    made = make_detector(name, {}, Fraction(rate))
    seconds, found = _timed(lambda: [t for thumb in seen for t in made.push(thumb)] + made.finish())
    return seconds, [(t.kind, t.start, t.end) for t in found]


def _add(outcome: Outcome, clip: Clip, found: Sequence[Transition]) -> None:
    tally = outcome.families[clip.family]
    tally.typed += typed(clip.truth, found, TOLERANCE)
    tally.any += match(clip.truth, found, TOLERANCE)
    inside, leaked = leaks([t for t in clip.truth if t.kind != "cut"], found, MARGIN)
    tally.inside, tally.leaked = tally.inside + inside, tally.leaked + leaked
    tally.frames += clip.frames
    tally.clips += 1


def films(names: Sequence[str], labelled: Sequence[LabelledFilm], folders: Sequence[Path]) -> str:
    """Markdown: of every labelled film of a half that lies in one of the folders, what each detector found."""
    rows = ["", _heading("film, frames", "transitions", *(f"`{n}`: found under its name, false" for n in names))]
    for film in labelled:
        paths = [folder / film.file for folder in folders if (folder / film.file).is_file()]
        scores = (_film_score(name, film, path) for path in paths[:1] for name in names)
        if shown := [f"{score.hits}, {score.false}" for score in scores]:
            rows.append(_row(f"{film.file}, {film.frames}", str(len(film.transitions)), *shown))
    return "\n".join(rows)


def _film_score(name: str, film: LabelledFilm, path: Path) -> Score:
    made = make_detector(name, {}, Fraction(film.rate))
    with open_video(path, probe(path, Limits()), Limits()) as frames:
        found = [t for frame in frames for t in made.push(thumb(frame.picture, frame.format))] + made.finish()
    told = [t for t in found if not any(gap(t, taste) <= TOLERANCE for taste in film.undecided)]
    return typed(film.transitions, told, TOLERANCE)


def tables(outcomes: dict[str, Outcome]) -> str:
    """Markdown: all detectors by family, then what they found in single shots, then the sums."""
    names = list(outcomes)
    rows = [_heading("family, typed F1 (of any kind)", "goal", *(f"`{n}`" for n in names))]
    for family in (*FAMILIES, *CARTOONS):
        shown = (outcomes[n].families[family.name] for n in names)
        rows.append(_row(family.name, str(family.goal), *(f"{_f1(t.typed)} ({_f1(t.any)})" for t in shown)))
    rows += ["", _heading("false finds in single shots with", *(f"`{n}`" for n in names))]
    for distractor in DISTRACTORS:
        tallies = [outcomes[n].families[distractor] for n in names]
        rows.append(_row(distractor, *(f"{t.any.false} in {t.clips}" for t in tallies)))
    rows += ["", _heading(*SUMS)]
    for name in names:
        cuts, gradual, single = (sum_of(outcomes[name], group) for group in (CUTS, GRADUAL, SINGLE))
        outcome = outcomes[name]
        leaked = f"{100 * gradual.leaked / max(1, gradual.inside):.1f} %"
        per_clip = f"{gradual.leaked / max(1, gradual.typed.hits + gradual.typed.missed):.2f}"
        false = f"{90 * single.any.false / max(1, single.clips):.1f}"
        cost = f"{outcome.seconds / outcome.decoding:.2f}"
        each = 1e6 * outcome.seconds / sum(t.frames for t in outcome.families.values())
        rows.append(
            _row(
                f"`{name}`",
                *map(_prf, (cuts.typed, gradual.typed, gradual.any)),
                leaked,
                per_clip,
                false,
                cost,
                f"{each:.0f}",
            )
        )
    return "\n".join(rows)


SUMS = (
    "detector",
    "cuts P / R / F1",
    "gradual P / R / F1",
    "gradual, of any kind",
    "leaked",
    "leaked frames per gradual",
    "false finds in 90 single shots",
    "CPU to decoding",
    "µs per frame",
)
CUTS = tuple(f.name for f in (*FAMILIES, *CARTOONS) if f.goal == 97)
GRADUAL = tuple(f.name for f in (*FAMILIES, *CARTOONS) if f.goal == 93)
SINGLE = tuple(DISTRACTORS)


def sum_of(outcome: Outcome, families: Sequence[str]) -> Tally:
    """The tallies of some families as one."""
    total = Tally()
    for name in families:
        total += outcome.families[name]
    return total


def _heading(*cells: str) -> str:
    return _row(*cells) + "\n" + "|---" * len(cells) + "|"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _f1(score: Score) -> str:
    return f"{100 * score.f1:.1f}"


def _prf(score: Score) -> str:
    return f"{100 * score.precision:.1f} / {100 * score.recall:.1f} / {100 * score.f1:.1f}"


if __name__ == "__main__":
    main()
