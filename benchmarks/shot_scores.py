"""How well found transitions agree with true ones. Pure; scores of several videos add up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from mlst.records import Transition

KINDS = ("cut", "dissolve", "fade")


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of a one-to-one matching."""

    hits: int = 0
    false: int = 0
    """Found, but not true."""
    missed: int = 0
    """True, but not found."""

    def __add__(self, other: "Score") -> "Score":
        return Score(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def precision(self) -> float:
        """hits / found, 0..1; 1 where nothing was found."""
        return _share(self.hits, self.hits + self.false)

    @property
    def recall(self) -> float:
        """hits / true, 0..1; 1 where nothing was to be found."""
        return _share(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0..1."""
        return _share(2 * self.hits, 2 * self.hits + self.false + self.missed)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of one detector on one or more videos at one tolerance."""

    overall: Score = Score()
    """Whatever the kind."""
    cut: Score = Score()
    """Only cuts found as cuts."""
    dissolve: Score = Score()
    fade: Score = Score()
    gradual: Score = Score()
    """True dissolves and fades, found as a transition of any kind: only its recall has a meaning."""
    frames: int = 0
    leaked: int = 0
    """Frames of true dissolves and fades that lie, whole margins aside, inside a shot."""
    inside: int = 0
    """Frames of true dissolves and fades."""

    def __add__(self, other: "Evaluation") -> "Evaluation":
        return Evaluation(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def false_per_1000(self) -> float:
        """False positives in 1000 frames."""
        return 1000 * self.overall.false / self.frames if self.frames else 0.0


def evaluate(
    truth: Sequence[Transition], found: Sequence[Transition], frames: int, tolerance: int, margin: int = 3
) -> Evaluation:
    """Score the transitions found in one video of `frames` frames.

    Two transitions match when at most `tolerance` frames lie between them (`gap`), each at most once. `margin` is the
    number of frames that clips leave out at the ends of a shot.
    """
    by_kind = {
        kind: match([t for t in truth if t.kind == kind], [t for t in found if t.kind == kind], tolerance)
        for kind in KINDS
    }
    inside, leaked = leaks(truth, found, margin)
    gradual = match([t for t in truth if t.kind != "cut"], found, tolerance)
    return Evaluation(
        match(truth, found, tolerance), **by_kind, gradual=gradual, frames=frames, leaked=leaked, inside=inside
    )


def typed(truth: Sequence[Transition], found: Sequence[Transition], tolerance: int) -> Score:
    """Transitions found under their own name.

    Further finds within a true transition that was found are not counted; those within one that was found under
    another name only are false.
    """
    names = sorted({t.kind for t in (*truth, *found)})
    pairs = [pair for name in names for pair in _pairs(truth, found, tolerance, name)]
    hit = {i for i, _ in pairs}
    left = [f for j, f in enumerate(found) if j not in {j for _, j in pairs}]
    false = [f for f in left if not any(gap(truth[i], f) <= tolerance for i in hit)]
    return Score(len(hit), len(false), len(truth) - len(hit))


def match(truth: Sequence[Transition], found: Sequence[Transition], tolerance: int) -> Score:
    """Greedy one-to-one matching: smallest gap first, then the nearer starts."""
    hits = len(_pairs(truth, found, tolerance, ""))
    return Score(hits, len(found) - hits, len(truth) - hits)


def _pairs(
    truth: Sequence[Transition], found: Sequence[Transition], tolerance: int, kind: str
) -> list[tuple[int, int]]:
    """(i, j) of true and found transitions that belong together; of one kind, unless that is empty."""
    near = sorted(
        (gap(t, f), abs(t.start - f.start), i, j)
        for i, t in enumerate(truth)
        for j, f in enumerate(found)
        if gap(t, f) <= tolerance and (not kind or t.kind == f.kind == kind)
    )
    pairs: list[tuple[int, int]] = []
    for _, _, i, j in near:
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def gap(a: Transition, b: Transition) -> int:
    """Frames between two transitions, 0 when they touch; between two cuts the difference of their positions."""
    return max(0, max(a.start, b.start) - min(a.end, b.end))


def leaks(truth: Iterable[Transition], found: Iterable[Transition], margin: int) -> tuple[int, int]:
    """(frames of true gradual transitions, those of them that clips would contain)."""
    inside = {i for t in truth for i in range(t.start, t.end)}
    excluded = {i for t in found for i in range(t.start - margin, t.end + margin)}
    return len(inside), len(inside - excluded)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
