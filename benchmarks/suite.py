"""Every claim about speed and memory by one command each, with the aim beside: `make bench` and `make bench-full`.

    python -m benchmarks.suite quick|full [--only NAME ...] [--out FOLDER]

Each benchmark runs in a process of its own and alternates what it compares itself. FOLDER (out/bench) gets what each
printed, their JSON, and `suite.json`: commands, CPU seconds, versions, cores and load. `quick` is small, `full` has
the sizes of docs/performance.md. A benchmark that fails is told and the rest goes on.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT / "manifests/demo/clips"
DEMO = ROOT / "out/demo"
SHORT = tuple(str(CLIPS / name) for name in ("his_girl_friday_6s_640x480.mp4", "stream_of_water_3s_480x360.webm"))
LONG = tuple(
    str(CLIPS / name)
    for name in (
        *("bbb_opening_30s_1280x720_vp8.webm", "flower_timelapse_5s_960x540.mp4", "his_girl_friday_6s_640x480.mp4"),
        *("sintel_trailer_10s_854x480.mp4", "stream_of_water_3s_480x360.webm", "rabbit_orbit_8s_320x240.mp4"),
    )
)
LIBRARIES = ("av", "numpy", "opencv-python-headless", "torch", "scenedetect-headless", "siti-tools", "ray")


@dataclass(frozen=True, slots=True)
class Claim:
    """A benchmark, quick and in full."""

    name: str
    aim: str
    quick: tuple[str, ...]
    """Arguments of Python; none where it has no quick form."""
    full: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a benchmark went."""

    name: str
    aim: str
    command: tuple[str, ...]
    status: int
    cpu_seconds: float
    """Of what was waited for."""
    wall_seconds: float
    load: float
    """Programs that wanted a core in the minute before its end."""


def module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.{name}", *arguments)


def step(model: str, preset: str) -> tuple[str, ...]:
    return ("-m", "astm", "bench", model, "--preset", preset, "--device", "cpu", "--repeat", "1")


MODELS = (
    *("astm", "astm_basic", "convlstm", "crevnet", "e3d_lstm", "frnn", "mau", "phydnet", "predformer", "predrnn"),
    *("predrnn_pp", "predrnn_v2", "savp_vae", "simvp", "stam", "stmfanet", "swin_lstm", "tau", "vpn"),
)
"""Those with parameters."""


CLAIMS = (
    Claim(
        "scan",
        "CPU over a plain decode: 1.5 at 1080p, 2 at 720p, 3 at 480p, 4 at 360p, 8 at 240p",
        module("scan_cost", SHORT[1], "--runs", "1"),
        module("scan_cost", *LONG, "--runs", "5"),
    ),
    Claim(
        "small-items",
        "half of the 398 ms beyond the work",
        module("small_items", "--videos", "60"),
        module("small_items", "--videos", "1000", "--executor", "local", "ray"),
    ),
    Claim(
        "memory",
        "60 minutes 1.1 times 5; 400 MB of its own at 1080p",
        module("scan_memory", "--minutes", "1", "3"),
        module("scan_memory", "--minutes", "5", "60"),
    ),
    Claim(
        "toolchain",
        "the usual tools cost 12 times, 4 times without siti-tools",
        module("toolchain", SHORT[0]),
        module("toolchain", *LONG),
    ),
    Claim(
        "scale",
        "320 CPU s for a million rows",
        module("scale", "10000"),
        module("scale", "100000", "1000000"),
    ),
    Claim(
        "loader",
        "0.9 of a bare decode; 1.3 times datasets and webdataset; first batch in 1 s",
        module("loader", str(DEMO), "--passes", "1", "--repeats", "1"),
        module("loader", str(DEMO)),
    ),
    *(
        Claim(
            f"step-{model}",
            "none: time and memory of a training step at paper size on a CPU",
            step(model, "tiny") if model == "astm" else (),
            step(model, "paper"),
        )
        for model in MODELS
    ),
    Claim("astm-memory", "225 MB for a sample (paper, Table 1)", module("astm_memory"), module("astm_memory")),
)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--only", nargs="+", choices=[claim.name for claim in CLAIMS], default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [claim for claim in CLAIMS if not options.only or claim.name in options.only]
    if any(str(DEMO) in claim.quick for claim in wanted) and not (DEMO / "dataset.json").exists():
        subprocess.run([sys.executable, "-m", "collection", "build", "manifests/demo/recipe.toml", "--out", str(DEMO)],
                       cwd=ROOT, check=True)  # fmt: skip
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load():.1f}")
    ran = [run(claim, some, options.out) for claim in wanted if (some := getattr(claim, options.size))]
    facts = {"size": options.size, "cores": os.cpu_count(), "machine": platform.machine(), "versions": versions()}
    (options.out / "suite.json").write_text(json.dumps({**facts, "ran": list(map(asdict, ran))}, indent=1) + "\n")
    raise SystemExit(max((one.status for one in ran), default=0) and 1)


def run(claim: Claim, arguments: Sequence[str], out: Path) -> Ran:
    """Run one benchmark, print and keep what it says."""
    command = (sys.executable, *arguments)
    if arguments[0] == "-m" and arguments[1] in JSON:
        command = (*command, "--json", str(out / f"{claim.name}.json"))
    print(f"\n## {claim.name}\n\naim: {claim.aim}\n", flush=True)
    before, began = ended(), time.monotonic()
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True)
    print(done.stdout if not done.returncode else done.stderr[-2000:], flush=True)
    (out / f"{claim.name}.txt").write_text(done.stdout)
    found = Ran(claim.name, claim.aim, tuple(arguments), done.returncode, ended() - before, time.monotonic() - began,
                load())  # fmt: skip
    print(f"({found.cpu_seconds:.0f} s of CPU, {found.wall_seconds:.0f} s, load {found.load:.1f})", flush=True)
    return found


JSON = {f"benchmarks.{name}" for name in ("small_items", "scan_memory", "toolchain")}
"""Benchmarks that write their figures as JSON."""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def ended() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def load() -> float:
    return os.getloadavg()[0]


def versions() -> dict[str, str]:
    """Of the libraries that matter and are there."""
    there = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in LIBRARIES if name in there}


if __name__ == "__main__":
    main()
