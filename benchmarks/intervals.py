"""How often the intervals of `astm compare` hold the true mean, by simulation.

    python -m benchmarks.intervals --runs 1000

Values are lognormal, and differences of two models that share the difficulty of each video, lognormal too, and have a
lognormal factor each. A video has one clip, or one to five that are alike. 95 % is claimed.
"""

from collections.abc import Callable
from itertools import product
from typing import Annotated, TypeAlias

import numpy as np
import typer
from numpy.typing import NDArray

from astm.evaluation import comparison

Values: TypeAlias = NDArray[np.float64]
OWN, FACTOR = 0.2, 0.9
"""Sigma of a clip in its video, and of a model's factor; the second model's mean factor."""


def lognormal(rng: np.random.Generator, videos: NDArray[np.int64], sigma: float) -> tuple[Values, float]:
    """Scores of clips, and their true mean."""
    difficulty = rng.lognormal(0, sigma, videos.max() + 1)[videos]
    return difficulty * rng.lognormal(0, OWN, len(videos)), float(np.exp((sigma**2 + OWN**2) / 2))


def paired(rng: np.random.Generator, videos: NDArray[np.int64], sigma: float) -> tuple[Values, float]:
    """Differences of the scores of two models, and their true mean."""
    shared, mean = lognormal(rng, videos, sigma)
    first, second = (rng.lognormal(-(OWN**2) / 2, OWN, videos.max() + 1)[videos] for _ in range(2))
    return shared * (first - FACTOR * second), mean * (1 - FACTOR)


def coverage(
    draw: Callable[[np.random.Generator, NDArray[np.int64], float], tuple[Values, float]],
    count: int,
    clips: int,
    sigma: float,
    runs: int,
) -> tuple[dict[str, float], float]:
    """Share of the runs in which each interval over `count` videos, of up to `clips` clips, holds the true mean; and
    the mean width of both together over that of Student's."""
    held, widths = dict.fromkeys(("Student", "bootstrap t", "both"), 0), np.zeros(2)
    for run in range(runs):
        rng = np.random.default_rng([count, run])
        videos = np.repeat(np.arange(count), rng.integers(1, clips + 1, count))
        values, truth = draw(rng, videos, sigma)
        seen = comparison.by_video(values, videos.astype(str))
        s, b = comparison.student(*seen), comparison.bootstrap_t(*seen)
        ends = {"Student": s, "bootstrap t": b, "both": (min(s[0], b[0]), max(s[1], b[1]))}
        widths += ends["both"][1] - ends["both"][0], s[1] - s[0]
        for name, (low, high) in ends.items():
            held[name] += low <= truth <= high
    return {name: times / runs for name, times in held.items()}, float(widths[0] / widths[1])


def main(runs: Annotated[int, typer.Option(min=1, help="Simulated comparisons of each kind.")] = 1000) -> None:
    """Print a table of coverage."""
    print("| values | sigma | clips of a video | videos | Student | bootstrap t | both | width of both / Student |")
    print("| --- " * 8 + "|")
    for draw, sigma, clips, count in product((lognormal, paired), (0.5, 1.0), (1, 5), (10, 30, 100)):
        found, width = coverage(draw, count, clips, sigma, runs)
        cells = " | ".join(f"{share:.1%}" for share in found.values())
        print(f"| {draw.__name__} | {sigma} | up to {clips} | {count} | {cells} | {width:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
