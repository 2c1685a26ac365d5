"""Are black bars found, and nothing else? `python -m benchmarks.bars` prints precision and recall of each rule.

The clips of `tests/barred.py`, each through a lossy codec. A bar is found where the cut lies on its edge, or up to
`SLACK` of the side inside the picture, since edges are soft.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from collection.media.decode import open_video
from collection.media.probe import probe
from collection.recipe import Limits
from mlst.pictures.bars import active_picture
from mlst.pictures.frames import PictureFormat, Reduced, reduce
from tests.barred import HOLD_OUT, NONE, TUNING, Case, Sides

SLACK = 0.02
"""Of the side, that a cut may take from the picture; 5 pixels of 240."""
EARLY = 0.004
"""Of the side, that a cut may leave of a bar: one pixel of 240."""


@dataclass
class Tally:
    """Sides of all cases."""

    right: int = 0
    """Bars that were found."""
    wrong: int = 0
    """Cuts where there is no bar, or elsewhere than at its edge."""
    missed: int = 0

    def __str__(self) -> str:
        found, there = self.right + self.wrong, self.right + self.missed
        return f"{self.right / max(1, found):.1%} | {self.right / max(1, there):.1%} | {self.right} of {there}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table as Markdown, and what went wrong below it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=("tuning", "hold-out"), default="hold-out", help="which cases")
    cases = HOLD_OUT if parser.parse_args(argv).set == "hold-out" else TUNING
    tallies, odd = {name: Tally() for name in active_picture}, list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            frames, fmt, _ = decoded(case.write(Path(folder) / "case.mkv"))
            for name, tally in tallies.items():
                found = sides(name, frames, fmt)
                if not judge(case, found, tally):
                    odd.append(f"{name}: {case.name}: {_percent(found)}, not {_percent(case.truth)}")
    none = sum(case.truth == NONE for case in cases)
    print(f"{len(cases)} clips, {none} of them without bars\n")
    print("| rule | precision | recall | bars found |\n|---|---:|---:|---:|")
    for name, tally in tallies.items():
        print(f"| `{name}` | {tally} |")
    print("\n" + "\n".join(sorted(odd)))


def decoded(path: Path) -> tuple[list[Reduced], PictureFormat, list[Fraction]]:
    """What a scan keeps of the frames of a file, and their times in seconds."""
    facts = probe(path, Limits())
    with open_video(path, facts, Limits()) as decoder:
        frames = list(decoder)
        times = [frame.picture.pts * facts.time_base for frame in frames]
        return [reduce(frame.picture, decoder.format) for frame in frames], decoder.format, times


def sides(rule: str, frames: Sequence[Reduced], fmt: PictureFormat) -> Sides:
    """The bars that a rule finds, as shares."""
    area, (height, width) = active_picture[rule](frames, fmt), frames[0].y.shape
    return area.left / width, area.top / height, 1 - area.right / width, 1 - area.bottom / height


def judge(case: Case, found: Sides, tally: Tally) -> bool:
    """Count the four sides of a case; whether all are right."""
    before = tally.wrong + tally.missed
    for cut, bar in zip(found, case.truth, strict=True):
        at = bar > 0 and cut > 0 and -EARLY <= cut - bar <= SLACK
        tally.right += at
        tally.wrong += cut > 0 and not at
        tally.missed += bar > 0 and not at
    return tally.wrong + tally.missed == before


def _percent(shares: Sides) -> str:
    return " ".join(f"{share:.1%}" for share in shares)


if __name__ == "__main__":
    main()
