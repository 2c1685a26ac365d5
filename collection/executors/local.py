"""A process per item, from a fork server that has everything imported.

A codec that crashes, hangs or eats memory costs its own item and nothing else: with a pool of long-lived workers one
crash breaks every pending item. Starting a process from the preloaded server takes 0.06-0.11 s.
"""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

from collection.stage import FAILED, Outcome, Stage, attempt
from collection.workspace import Workspace
from mlst.records import canonical_json, decode

PRELOAD = ["collection.pipeline"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Items run side by side; threads inside them would wait for one another."""
GRACE = 5.0
"""Seconds a worker has to exit after it has sent its outcome."""


@dataclass(frozen=True, slots=True)
class Local:
    """Runs up to `workers` items at a time on this machine."""

    workers: int

    def __call__(self, stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        """One outcome per item, as they finish. Workers die with this process, even when it is killed."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        with _environment(ONE_THREAD):
            forkserver.ensure_running()
        waiting, running = iter(items), list[_Job]()
        try:
            while True:
                while len(running) < self.workers and (item := next(waiting, _END)) is not _END:
                    running.append(_start(context, stage, item, work))
                if not running:
                    return
                patience = max(0.0, min(job.deadline for job in running) - time.monotonic())
                wait([end for job in running for end in (job.pipe, job.process.sentinel)], patience)
                for job in [job for job in running if _over(job)]:
                    running.remove(job)
                    yield _collect(job, stage)
        finally:
            for job in running:
                _kill(job)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


_END = object()


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: str
    process: Any
    pipe: Connection
    deadline: float


def _start(context: Any, stage: Stage, item: Any, work: Workspace) -> _Job:
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker, args=(stage, item, work, theirs))
    process.start()
    theirs.close()
    return _Job(stage.key(item), process, ours, time.monotonic() + stage.needs.seconds)


def _over(job: _Job) -> bool:
    return job.pipe.poll() or not job.process.is_alive() or time.monotonic() >= job.deadline


def _collect(job: _Job, stage: Stage) -> Outcome:
    """The outcome a worker sent, or the one that its end amounts to."""
    try:
        with contextlib.suppress(EOFError, ConnectionError):
            if job.pipe.poll():
                # JSON and not pickle: a worker that hostile media has taken over must not run code here.
                message = json.loads(job.pipe.recv_bytes())
                outputs: tuple[Any, ...] = tuple(decode(stage.output, output) for output in message.pop("outputs"))
                job.process.join(GRACE)
                return Outcome(outputs=outputs, **message)
        if time.monotonic() >= job.deadline:
            return Outcome(job.key, FAILED, "timeout", f"no outcome within {stage.needs.seconds:g} s", ())
        job.process.join(GRACE)
        return Outcome(job.key, FAILED, "crashed", _epitaph(job.process.exitcode), ())
    finally:
        _kill(job)


def _epitaph(code: int | None) -> str:
    if code is not None and code < 0:
        return f"worker killed by {signal.Signals(-code).name}"
    return f"worker ended with status {code} and no outcome"


def _kill(job: _Job) -> None:
    """End a worker with everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(job.process.pid, signal.SIGKILL)
    job.process.kill()
    job.process.join()
    job.pipe.close()


def _worker(stage: Stage, item: Any, work: Workspace, pipe: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_die_with_driver, args=(pipe,), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if stage.needs.memory and sys.platform == "linux":  # macOS knows the limit and does not keep it
        resource.setrlimit(resource.RLIMIT_AS, (stage.needs.memory, stage.needs.memory))
    pipe.send_bytes(canonical_json(attempt(stage, item, work)).encode())


def _die_with_driver(pipe: Connection) -> None:
    # The driver sends nothing: the pipe becomes readable when it is gone, be it by SIGKILL.
    pipe.poll(None)
    os.killpg(0, signal.SIGKILL)
