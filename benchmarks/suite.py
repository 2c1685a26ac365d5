"""Every claim about speed and memory by one command each, with the aim beside: `make bench` and `make bench-full`.

    python -m benchmarks.suite quick|full [--only NAME ...] [--media FOLDER] [--out FOLDER]

Each benchmark runs in a process of its own and takes what it compares in turns. FOLDER (out/bench) gets what each
printed and its JSON, and of all together `suite.json` and `suite.md`: every figure beside its aim, commands, CPU
seconds, versions, cores and load. `quick` is small, `full` has the sizes of docs/performance.md and takes the videos
of `--media` as well. A benchmark that fails is told and the rest goes on; the exit status is 1 then, and 0 where
nothing failed, whether aims are met or not. With `--only`, the tables keep what FOLDER has of the others in this size.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from benchmarks.figures import Figure, number, read
from benchmarks.material import ROOT, demo, excerpt, tier, with_full_hd
from mlst.native import USED

DATASET = ROOT / "out/demo"
SINGLE = ("asl_signer", "flower", "his_girl_friday", "pig_zoom", "rabbit_orbit", "stream_of_water")
"""Videos of one shot each, 3 to 8 s."""
MIXED = ("flower", "rabbit_orbit", "sintel", "stream_of_water", "talking_head")
"""Single shots and trailers, 102 s."""
LIBRARIES = (
    *("av", "numpy", "opencv-python-headless", "torch", "ray", "datasets", "webdataset", "scenedetect-headless"),
    *("siti-tools", "imageio-ffmpeg"),
)
MODELS = (
    *("astm", "astm_basic", "convlstm", "crevnet", "e3d_lstm", "frnn", "mau", "phydnet", "predformer", "predrnn"),
    *("predrnn_pp", "predrnn_v2", "savp_vae", "simvp", "stam", "stmfanet", "swin_lstm", "tau", "vpn"),
)
"""Those with parameters."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A benchmark, quick and in full: arguments of its module, in which words in capitals stand for `material`."""

    name: str
    module: str
    quick: tuple[str, ...] | Literal["left out"]
    full: tuple[str, ...]


CLAIMS = (
    Claim("scan", "scan_cost", ("--runs", "2"), ("DEMO", "MORE", "--runs", "3")),
    Claim("two-workers", "two_workers", ("SINGLE", "--runs", "1"), ("DEMO", "--copies", "3", "--runs", "3")),
    Claim("small-items", "small_items", ("--videos", "50"), ("--videos", "1000", "--executor", "local", "ray")),
    Claim("loader", "loader", ("DATASET", "--passes", "2", "--repeats", "1"), ("DATASET",)),
    Claim("verify", "verifying", ("DATASET", "--repeats", "1"), ("DATASET",)),
    Claim("memory", "scan_memory", ("--minutes", "1", "2"), ("HIGH", "--minutes", "5", "60")),
    Claim("planning", "scale", ("2000", "10000"), ("100000", "1000000")),
    Claim("report", "report_growth", ("2000", "20000"), ("10000", "100000")),
    Claim("toolchain", "toolchain", ("FEW",), ("MIXED", "MORE", "--keep", "KEPT")),
    Claim("astm-memory", "astm_memory", (), ()),
    Claim("kept", "model_steps", ("--count",), ("--count",)),
    *(
        Claim(f"step-{model}", "model_steps", (model, "--repeat", "0") if model == "astm" else "left out", (model,))
        for model in MODELS
    ),
)
NAMES = [claim.name for claim in CLAIMS]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a benchmark went."""

    name: str
    command: str
    status: int
    cpu_seconds: float
    """Of what was waited for."""
    wall_seconds: float
    load: float
    """Programs that wanted a core in the minute before its end."""
    when: str
    """Its end, UTC."""
    commit: str
    """What was checked out; "" outside a repository."""
    figures: tuple[Figure, ...]


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=("quick", "full"))
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--media", type=Path, help="folder of more videos, for `full`")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    wanted = asked(options.size, options.only)
    if not wanted:
        parser.error(f"{', '.join(options.only)}: none has a quick form; use full")
    words = material(sorted(options.media.iterdir()) if options.media else [], out)
    if any("DATASET" in given for given in wanted.values()) and not (DATASET / "dataset.json").exists():
        print("building the demo first", flush=True)
        build = (sys.executable, "-m", "collection", "build", "manifests/demo/recipe.toml", "--out", str(DATASET))
        subprocess.run(build, cwd=ROOT, env=environment(), check=False, capture_output=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load():.1f}", flush=True)
    statuses = []
    for claim, given in wanted.items():
        ran = run(claim, filled(given, words), out)
        keep(ran, options.size, out)
        statuses.append(ran.status)
    print(f"\n{(out / 'suite.md').read_text()}")
    raise SystemExit(1 if any(statuses) else 0)


def keep(ran: Ran, size: str, out: Path) -> None:
    """Write it to the tables, beside what they have of others."""
    known = earlier(out / "suite.json", size) | {ran.name: ran}
    rows = [known[name] for name in NAMES if name in known]
    facts = {"size": size, "machine": platform.machine(), "cores": os.cpu_count(), "versions": versions()}
    found = {**facts, "compiled kernels": USED, "ran": list(map(asdict, rows))}
    (out / "suite.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "suite.md").write_text("\n".join([heading(size), "", *figure_rows(rows), "", *run_rows(rows), ""]))


def asked(size: str, names: Iterable[str]) -> dict[Claim, tuple[str, ...]]:
    """The claims of these names that have a form of the size, and its arguments."""
    forms = {claim: claim.quick if size == "quick" else claim.full for claim in CLAIMS if claim.name in names}
    return {claim: form for claim, form in forms.items() if form != "left out"}


def earlier(path: Path, size: str) -> dict[str, Ran]:
    """What the file of a run of this size says, by name; nothing if there is none."""
    found = json.loads(path.read_text()) if path.exists() else {"size": size, "ran": []}
    rows = found["ran"] if found["size"] == size else []
    return {row["name"]: Ran(**row | {"figures": tuple(Figure(**one) for one in row["figures"])}) for row in rows}


def material(media: Sequence[Path], out: Path) -> Mapping[str, Sequence[str]]:
    """What the words in capitals stand for, relative to the root; 1080p is made where `media` have none."""
    more = [path for path in with_full_hd([*demo(), *media], out / "made") if path not in demo()]
    paths = {
        "SINGLE": demo(*SINGLE),
        "FEW": demo("his_girl_friday", "stream_of_water"),
        "MIXED": [*demo(*MIXED), excerpt(out / "made")],
        "DEMO": demo(),
        "MORE": more,
        "HIGH": [path for path in more if tier(path) >= 1080],
        "DATASET": [DATASET],
        "KEPT": [out / "usual.jsonl"],
    }
    return {word: list(map(shown, named)) for word, named in paths.items()}


def filled(given: Iterable[str], words: Mapping[str, Sequence[str]]) -> list[str]:
    """Arguments with what their words stand for."""
    return [part for one in given for part in words.get(one, [one])]


def run(claim: Claim, given: Sequence[str], out: Path) -> Ran:
    """Run one benchmark, print and keep what it says."""
    found, figures = ("-m", f"benchmarks.{claim.module}", *given), out / f"{claim.name}.json"
    figures.unlink(missing_ok=True)
    command = shlex.join(("python", *found))
    print(f"\n## {claim.name}\n\n    {command}\n", flush=True)
    before, began = ended(), time.monotonic()
    done = subprocess.run((sys.executable, *found, "--json", str(figures)), check=False, cwd=ROOT, env=environment(),
                          capture_output=True, text=True)  # fmt: skip
    (out / f"{claim.name}.txt").write_text(done.stdout)
    print(done.stdout, flush=True)
    if done.returncode:
        print(f"FAILED with status {done.returncode}:\n{done.stderr[-2000:]}", flush=True)
    spent, took = ended() - before, time.monotonic() - began
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    return Ran(claim.name, command, done.returncode, spent, took, load(), when, commit(), tuple(read(figures)))


def heading(size: str) -> str:
    """What was run, on what."""
    kept = ", ".join(f"{name} {version}" for name, version in versions().items())
    kernels = "compiled kernels" if USED else "no compiled kernels"
    make = "make bench" if size == "quick" else "make bench-full"
    return f"`{make}`: {platform.machine()}, {os.cpu_count()} cores, {kernels}; {kept}"


def commit() -> str:
    """What is checked out; "" where git knows of nothing."""
    asked = ("git", "rev-parse", "--short", "HEAD")
    known = shutil.which("git") and subprocess.run(asked, cwd=ROOT, check=False, capture_output=True, text=True)
    return known.stdout.strip() if known else ""


def figure_rows(ran: Iterable[Ran]) -> list[str]:
    """Every figure beside its aim."""
    rows = [f"| {one.name} {figure.row}" for one in ran for figure in one.figures]
    return ["| benchmark | claim | aim | measured | unit | |", "|---|---|---|---:|---|---|", *rows]


def run_rows(ran: Iterable[Ran]) -> list[str]:
    """Every command, and what it took."""
    rows = [
        f"| {one.name} | `{one.command}` | {number(one.cpu_seconds)} | {number(one.wall_seconds)} | {one.load:.1f} "
        f"| {one.when} | {one.commit} | {f'failed with status {one.status}' if one.status else 'done'} |"
        for one in ran
    ]
    head = "| benchmark | command | CPU s | s | load | ended, UTC | commit | |"
    return [head, "|---|---|---:|---:|---:|---|---|---|", *rows]


def shown(path: Path) -> str:
    """A path as seen from the root."""
    return os.path.relpath(path, ROOT)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def ended() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def load() -> float:
    return os.getloadavg()[0]


def versions() -> dict[str, str]:
    """Of Python, and of the libraries that matter and are there."""
    there = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    known = {name: importlib.metadata.version(name) for name in LIBRARIES if name in there}
    return {"Python": platform.python_version(), **known}


if __name__ == "__main__":
    main()
