"""Fits the cuts that come with `mlst` to a small corpus of freely available films, and tries them on films left out.

    python -m benchmarks.levels FOLDER [--work DIR] [--out mlst-240p-v2.toml]

`benchmarks/levels.csv` lists the films by the sha256 of their files, which may have any name in FOLDER; those that are
missing are named. Films are cut into clips of half a second. Every film weighs the same, so that a long one does not
decide, and intervals are drawn over films. Half of the films (`half` is `test` there) are left out once: cuts that are
fitted to the others show how the films left out are divided. Then cuts are fitted to all.
"""

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from collection.cli.console import console
from collection.engine.run import Driver
from collection.engine.waves import fetch_and_scan
from collection.executors import Local
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.recipe import FetchSettings, ScanSettings
from collection.report.display import Bars
from collection.scan.stage import ScanStage
from collection.workspace.store import opened
from mlst.levels.calibration import fitted
from mlst.levels.levels import Axis, Levels, Provenance, step, write_levels
from mlst.records import OPEN_END, STATISTICS, Source, Statistics, digest

LIST = Path(__file__).with_suffix(".csv")
CLIP = 15
"""Frames per clip, and from one to the next: half a second."""
TEST = "test"
BLANK = (1.0, 2.0)
"""Cuts before any are fitted."""
DEFINITION = Levels(
    id="mlst-240p-v2",
    sha256="",
    active_picture="edges",
    s=Axis("dct_energy", BLANK, "gradient_mean", BLANK, float(np.log(1.15))),
    t=Axis("ti10", BLANK, "flow_mean", BLANK, float(np.log(1.2))),
    columns=STATISTICS,
    provenance=Provenance("", "", 0, 0, "", {}),
)


@dataclass(frozen=True, slots=True)
class Film:
    """A row of the list."""

    group: str
    """Films of one group are the same film, or nearly so."""
    half: str
    title: str
    address: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A clip of a film."""

    group: str
    half: str
    shot: str
    statistics: Statistics


def measure(folder: Path, films: Mapping[str, Film], work: str) -> list[Measured]:
    """Every clip of the films that are in a folder; `films` by sha256."""
    paths = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.iterdir()) if path.is_file()
    }
    for missing in films.keys() - paths.keys():
        print(f"missing: {films[missing].title}, {films[missing].address}")
    sources = [
        Source(key[:16], paths[key].name, Fraction(0), OPEN_END, "unknown", film.title, "", film.group, film.address)
        for key, film in sorted(films.items())
        if key in paths
    ]
    by_id = {key[:16]: film for key, film in films.items()}
    fetch = FetchStage(FetchSettings(extractors=(), local=True), str(folder.resolve()), Access(), frozenset())
    scan = ScanStage(ScanSettings(length=CLIP, step=CLIP), DEFINITION.active_picture, STATISTICS)
    with opened(work) as here, Bars(console, here.root) as watcher:
        seen = fetch_and_scan(fetch, scan, sources, Driver(here, Local(2), watcher, False, 64, False))
    clips = sorted((clip for one in seen.scanned.outputs for clip in one.clips), key=lambda clip: clip.key)
    return [Measured(by_id[c.source].group, by_id[c.source].half, f"{c.source}/{c.shot}", c.statistics) for c in clips]


def weights(clips: Sequence[Measured]) -> np.ndarray:
    """(N,) one over the clips of the same group."""
    sizes = Counter(clip.group for clip in clips)
    return np.array([1 / sizes[clip.group] for clip in clips])


def fit(clips: Sequence[Measured], films: Sequence[Film]) -> Levels:
    """Thirds of films that weigh the same."""
    sources = tuple(f"{film.title}, {film.address}, sha256 {film.sha256}" for film in films)
    provenance = Provenance(
        corpus=f"{len({film.group for film in films})} freely available films; few, so the intervals are wide",
        corpus_sha256=digest(sources),
        clips=len(clips),
        shots=len({clip.shot for clip in clips}),
        method="thirds of clips of half a second, every film weighing the same; intervals drawn over films",
        intervals={},
        sources=sources,
    )
    like = replace(DEFINITION, provenance=provenance)
    return fitted(like, [clip.statistics for clip in clips], [clip.group for clip in clips], weights(clips))


def shares(clips: Sequence[Measured], axis: Axis) -> str:
    """How much of the films is in each third, in %."""
    found = np.bincount([step(axis.value(clip.statistics), axis.cuts) for clip in clips], weights(clips), 3)
    return " / ".join(f"{100 * share:.0f}" for share in found / found.sum())


def main() -> None:
    """Print what the left-out films say, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", default="levels-work")
    parser.add_argument("--out", type=Path, default=Path("mlst-240p-v2.toml"))
    options = parser.parse_args()
    with LIST.open(newline="", encoding="utf-8") as file:
        films = [Film(**row) for row in csv.DictReader(file)]
    clips = measure(options.folder, {film.sha256: film for film in films}, options.work)
    known = [clip for clip in clips if clip.half != TEST]
    left_out = [clip for clip in clips if clip.half == TEST]
    first = fit(known, [film for film in films if film.half != TEST])
    for name, axis in (("s", first.s), ("t", first.t)):
        found = f"fitted {shares(known, axis)} %, left out {shares(left_out, axis)} %"
        print(f"{name} by {axis.column}: {axis.cuts}, {found}")
    levels = fit(clips, films)
    for name, axis in (("s", levels.s), ("t", levels.t)):
        print(f"{name} by {axis.column}: {axis.cuts}, intervals {levels.provenance.intervals[axis.column]}")
    write_levels(levels, options.out)


if __name__ == "__main__":
    main()
