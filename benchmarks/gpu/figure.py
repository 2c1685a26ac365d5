"""Learning curves of a report: `python -m benchmarks.gpu.figure REPORT PICTURE`."""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.gpu.forms import TRAINED


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    chosen = parser.parse_args()
    draw(json.loads(chosen.report.read_text())["training"]).savefig(chosen.picture, metadata={"Date": None})


def draw(runs: list[dict[str, Any]]) -> Figure:
    """Validation score by step: a line for each seed, a colour for each model."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(TRAINED):
        for run in runs:
            if run["model"] == name and run.get("validation"):
                steps, scores = zip(*run["validation"], strict=True)
                label = name if run["seed"] == 0 else None
                axes.plot(steps, scores, color=f"C{i}", label=label, marker=".", linewidth=1)
    axes.set(xlabel="steps of 32 sequences", ylabel="mse_sum, 256 validation sequences")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
