"""What the models do on one GPU, in a bounded time.

    python -m benchmarks.gpu all --minutes 10 --data data/mnist --out runs/gpu
    python -m benchmarks.gpu speed --minutes 4 --forms paper openstl    # step time, samples/s, memory
    python -m benchmarks.gpu training --minutes 6                       # or only its `ablation`
    python -m benchmarks.gpu bundled --minutes 4                        # the checkpoint of the package
    python -m benchmarks.gpu all --smoke --device cpu   # everything on a CPU in seconds, to see that it works

The same command goes on where it was stopped: each measurement is a small file in `--out`, and is not done twice.
`report.json` holds all of them, with versions and the name of the device. Training takes the time
that speed leaves.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu import ablation, bundled, speed, training
from benchmarks.gpu.forms import Form, Job

PARTS = ("all", "speed", "training", "ablation", "bundled")
HIDDEN = ("case", "training-lane", "bundled-run")
"""Parts of parts, in processes of their own."""
FORMS: tuple[Form, ...] = ("small", "paper", "openstl", "bundled")
SPEED_PART = 0.3
"""Of the minutes of `all`."""


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*PARTS, *HIDDEN), metavar="|".join(PARTS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--data", type=Path, default=Path("data/mnist"), help="folder of MNIST's files")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="of `speed`")
    parser.add_argument("--smoke", action="store_true", help="tiny forms, few steps, few sequences")
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--chosen", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    job = Job(chosen.out, chosen.data, chosen.device, chosen.smoke)
    job.out.mkdir(parents=True, exist_ok=True)
    if chosen.part == "case":
        speed.one(job, chosen.case)
    elif chosen.part == "training-lane":
        training.lane(job, chosen.seed, chosen.until)
    elif chosen.part == "bundled-run":
        bundled.one(job, bundled.Chosen(**chosen.chosen), chosen.until)
    else:
        run(job, chosen.part, chosen.forms, chosen.minutes)


def run(job: Job, part: str, forms: list[Form], minutes: float) -> None:
    """One part or all, then the report."""
    began = time.time()
    until = began + minutes * 60 - 10
    if part in ("all", "speed"):
        speed.run(job, forms, began + minutes * 60 * SPEED_PART if part == "all" else until)
    if part in ("all", "speed") and not (job.out / "differences.json").exists() and time.time() < until:
        write(job.out / "differences.json", speed.differences(job))
    if part in ("all", "training"):
        training.run(job, until)
    if part in ("all", "training", "ablation"):
        ablation.run(job)
    if part == "bundled":
        bundled.run(job, until)
    write(job.out / "report.json", report(job, minutes, time.time() - began))


def report(job: Job, minutes: float, seconds: float) -> dict[str, Any]:
    """Everything that was measured."""

    def rows(folder: str) -> list[Any]:
        return [json.loads(path.read_text()) for path in sorted((job.out / folder).glob("*-*.json"))]

    def one(name: str) -> Any:
        path = job.out / name
        return json.loads(path.read_text()) if path.exists() else None

    return {
        "format": "astm-gpu-benchmark/1",
        "command": "python -m benchmarks.gpu " + " ".join(sys.argv[1:]),
        "minutes": minutes,
        "seconds": round(seconds, 1),
        "about": about(job.device),
        "differences": one("differences.json"),
        "speed": rows("speed"),
        "recipe": one("training/recipe.json"),
        "training": rows("training"),
        "ablation": one("ablation.json"),
        "bundled": one("bundled.json"),
    }


def about(device: str) -> dict[str, str]:
    """Device and versions."""
    cuda = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "driver": driver() if cuda else "",
        "cuda": str(torch.version.cuda) if cuda else "",
        "cudnn": str(torch.backends.cudnn.version()) if cuda else "",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def driver() -> str:
    """Of the NVIDIA device."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def write(path: Path, value: object) -> None:
    """As JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
