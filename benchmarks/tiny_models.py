"""Every model in its `tiny` form, trained the same number of steps on a dataset and scored on the same clips.

    OMP_NUM_THREADS=1 python -m benchmarks.tiny_models moving_mnist data/mnist --out runs/tiny-mnist
    OMP_NUM_THREADS=1 python -m benchmarks.tiny_models mlst out/demo --out runs/tiny-mlst

Prints a table of docs/results.md; `results/results.json` in the output folder is the file that comes with the package,
`astm/evaluation/measured/DATASET_tiny.json`. The same command goes on where it was stopped; nothing is trained twice.
`data/mnist` holds MNIST's files of images, as downloaded; `make demo` builds `out/demo`.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from astm.data import dataset
from astm.results import Evaluation, read_results
from astm.training.settings import presets

COLUMNS = ("mse_sum", "psnr_frame", "ssim_wang", "ssim_sk_dr2")
METRICS = (*COLUMNS, "ssim_sk_u8")
"""What the paper's tables are made of, by the definitions of their published numbers."""


def main() -> None:
    """Train what is not trained yet, score all, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=dataset, help="name of the dataset")
    parser.add_argument("root", type=Path, help="its folder")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--jobs", type=int, default=1, help="models trained at a time")
    parser.add_argument("--models", nargs="+", help="by default all that have the preset")
    arguments = parser.parse_args()
    models = arguments.models or list(presets(arguments.data)["tiny"])
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda name: train(name, arguments), models))
    runs = [str(arguments.out / name) for name in models]
    astm("evaluate", *runs, "copy_last", "--metrics", ",".join(METRICS), "--out", str(arguments.out / "results"))
    print(table(read_results(arguments.out / "results" / "results.json")))


def train(name: str, arguments: argparse.Namespace) -> None:
    """Train one model, or go on with it."""
    settings = [f"data.root={arguments.root}", f"train.steps={arguments.steps}"]
    out = str(arguments.out / name)
    astm("train", name, "--data", arguments.data, "--preset", "tiny", "--out", out, *settings)


def astm(*command: str) -> None:
    """Run the `astm` command."""
    subprocess.run([sys.executable, "-m", "astm", *command], check=True)


def table(results: list[Evaluation]) -> str:
    """Markdown, the least squared error first."""
    lines = [f"| model | parameters | GMAC | {' | '.join(COLUMNS)} |", "|---" + "|---:" * 6 + "|"]
    for one in sorted(results, key=lambda e: e.score("mse_sum").mean):
        error, *others = (one.score(name) for name in COLUMNS)
        cells = [
            f"`{one.model}`",
            f"{one.cost.parameters:,}",
            f"{one.cost.macs / 1e9:.2f}",
            f"{error.mean:.1f} [{error.low:.1f}, {error.high:.1f}]",
            *(f"{other.mean:.3f}" if other.metric.startswith("ssim") else f"{other.mean:.2f}" for other in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
