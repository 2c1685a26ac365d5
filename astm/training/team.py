"""The processes that train together, what each may use of the machine, and the signals that end them."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed as dist

from mlst.exits import Exit, UserError
from mlst.loading import Share

CGROUPS = Path("/sys/fs/cgroup")
"""Where the kernel says what a container may use."""


class TrainError(UserError, RuntimeError):
    """Training that cannot start or continue; the message names the remedy."""


class DivergedError(TrainError):
    """A loss or gradient that is not finite."""

    exit_code = Exit.WRONG


class UnsavedError(TrainError):
    """The disk does not take a checkpoint."""

    exit_code = Exit.WRONG


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that train together, and this one's place and device."""

    share: Share
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes files."""
        return self.share.rank == 0

    def total(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.share.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()


def loaders(workers: int, device: torch.device, world: int) -> int:
    """Processes that load data for each of `world` processes that train: as many as told, or for -1 as many as fit."""
    if workers >= 0:
        return workers
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(free // world - 1, 0)) if device.type == "cuda" else 0


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is CUDA if there is one. Raises `TrainError` for one that is not there."""
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as why:
        raise TrainError(f"no device {name!r}: {why}; choices are auto, cpu, cuda, cuda:0 ...") from None
    return device


@contextlib.contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the processes that `torchrun` started, if it did."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if world == 1:
        yield Team(Share(0, 1), chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(Share(dist.get_rank(), world), chosen)
    finally:
        dist.destroy_process_group()


def default_threads() -> int:
    """CPU threads that leave room for as many of another process: OMP_NUM_THREADS, or half of the free cores.

    Two processes with a thread for every core each wait for one another: a training of 2 minutes took over 30.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    return max(1, free_cores(CGROUPS) // 2)


def free_cores(cgroups: Path) -> int:
    """Cores that this process may use and that no other one runs on now, at least 1."""
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, int(min(allowed, quota(cgroups), cores - busy())))


def quota(cgroups: Path) -> float:
    """Cores that a container may use, by version 2 or 1 of control groups; infinity where there is no limit."""
    try:
        share, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            share, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return float("inf")
    return float("inf") if share.strip() in ("max", "-1") else int(share) / int(period)


def busy() -> float:
    """Threads of other processes that run or wait to run: now on Linux, elsewhere over the last minute."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1
    except OSError:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def prepared(name: str) -> torch.device:
    """The device of this name, for a command that does not train; on a CPU, with `default_threads`."""
    device = choose_device(name)
    if device.type == "cpu":
        torch.set_num_threads(default_threads())
    return device


@dataclass(slots=True)
class Stop:
    """Which signal asked to end; 0 for none yet."""

    number: int = 0


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Notes SIGTERM and SIGINT, so that a step is finished and saved; a second one ends at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: object) -> None:
        stop.number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
