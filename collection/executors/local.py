"""A process per item, from a fork server that has everything imported.

A codec that crashes, hangs or eats memory costs its own item and nothing else: with a pool of long-lived workers one
crash breaks every pending item. Starting a process from the preloaded server takes 0.06-0.11 s.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from collection.engine.stage import FAILED, In, Out, Outcome, Stage, attempt
from collection.executors.staging import staged
from collection.sandbox.environment import online, plain, replace_all
from collection.sandbox.kernel import confine
from collection.sandbox.outcome import epitaph, judged, message
from collection.workspace.folder import Workspace
from collection.workspace.store import scratch, user_folder
from mlst.sandbox.kernel import Room, missing

PRELOAD = "collection.preloaded"
"""Imported last: it freezes what is there."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Items run side by side; threads inside them would wait for one another."""
END = b"\n"
"""Ends a worker's message, which is a line of JSON."""
PIECE = 1 << 20
"""Bytes of a message that are read at a time."""
UNCONFINED = "unconfined"
"""Kind of an item that was not begun, because its worker could not be confined and that is required."""
GRACE = 5.0
"""Seconds a worker has to exit after it has sent its outcome."""
STARTS = 3
"""How often an item is begun whose fork server is killed under it, each time by a new server."""
UNKNOWN = 255
"""What `multiprocessing` gives as exit status of a process whose fork server is gone."""
LAST_BREATH = 5.0
"""Seconds in which a fork server that is being killed ends, also on a busy machine: its pipes close before that."""


@dataclass(frozen=True, slots=True)
class Local:
    """Runs up to `workers` items at a time on this machine."""

    workers: int
    required: bool = False
    """Whether items fail that cannot be confined as their stage wants (`mlst.sandbox.kernel.missing`)."""

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        """One outcome per item, as they finish. Workers die with this process, even when it is killed."""
        ready()
        waiting, running = iter(items), set[Future[Outcome[Out]]]()
        halt, stop = multiprocessing.Pipe()
        with _places() as place, halt, ThreadPoolExecutor(self.workers) as pool, stop:
            bench = Bench(place, _online(stage), self.required)
            alone = partial(_at_bench, bench=bench, halt=(halt,))
            while True:
                for item in islice(waiting, self.workers - len(running)):
                    running.add(pool.submit(staged, stage, item, work, "", alone))
                if not running:
                    return
                over, running = futures.wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in over)


def ready(also: Sequence[str] = ()) -> None:
    """Start the fork server, if there is none; it imports the modules `also` before it forks. What its environment
    holds its workers can read, also later on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*also, PRELOAD])
    if not _runs():
        with _environment({**plain(os.environ), **ONE_THREAD}):
            forkserver.ensure_running()


def _runs() -> bool:
    """Whether this process has a fork server that lives."""
    server = _server()
    with contextlib.suppress(ChildProcessError):
        return bool(server) and os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def _server() -> int:
    """The fork server's process, dead or alive; 0 where there was none."""
    return getattr(forkserver, "_forkserver")._forkserver_pid or 0  # noqa: B009 - typeshed has no such name


def worker_seconds() -> float:
    """CPU time of the workers of this process's fork server that have ended; 0 where Linux does not say."""
    try:
        stat = Path(f"/proc/{_server()}/stat").read_text()
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[13:15]  # cutime and cstime: fields 16 and 17 of proc(5)
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _lost(server: int) -> bool:
    """Whether a fork server has ended, or does so in a moment."""
    end = time.monotonic() + LAST_BREATH
    while _server() == server and _runs():
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)
    return True


def confined(stage: Stage[In, Out], item: In, work: Workspace, required: bool) -> Outcome[Out]:
    """Do one item in a process of its own."""
    with _places() as place:
        return _at_bench(stage, item, work, Bench(place, _online(stage), required), ())


def _places() -> AbstractContextManager[Path]:
    """A folder for the temporary files of workers. Should this process be killed, the next that asks for one removes
    it."""
    return scratch(user_folder() / "workers")


def _own(bench: "Bench") -> AbstractContextManager[str]:
    return tempfile.TemporaryDirectory(dir=bench.folder, ignore_cleanup_errors=True)


def _online(stage: Stage[In, Out]) -> Mapping[str, str]:
    return online(os.environ) if stage.needs.network else {}


def _at_bench(
    stage: Stage[In, Out], item: In, work: Workspace, bench: "Bench", halt: Sequence[Connection]
) -> Outcome[Out]:
    """Do one item in a process of its own, with a folder of its own in that of `bench`.

    Raises `InterruptedError` when the other end of `halt` is closed."""
    for _ in range(STARTS):
        with contextlib.suppress(LostServerError), _own(bench) as folder:
            job = _start(stage, item, work, replace(bench, folder=Path(folder)))
            try:
                line = _message(job, stage.expects(item).message, halt)
                return judged(line, stage, item, work.folder) if line[-1:] == END else _ended(job, stage)
            finally:
                _kill(job)
    return Outcome(stage.key(item), FAILED, "unknown.server", f"its fork server was killed {STARTS} times", ())


class LostServerError(Exception):
    """The fork server was killed before it could tell how a worker ended: nothing is known of the item."""


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    replace_all(variables)
    try:
        yield
    finally:
        replace_all(before)


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """Workers are sent the command line, in which a proxy's password may stand."""
    before, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = before


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how a worker works."""

    folder: Path
    """For temporary files."""
    variables: Mapping[str, str]
    """Of the environment, for a worker with a network."""
    required: bool
    """See `Local.required`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: str
    process: Any
    server: int
    """The fork server that started it."""
    pipe: Connection
    deadline: float


_PROCESSES = threading.Lock()
"""Starting a process looks after all others, and two threads must not read how one of them ended."""


def _start(stage: Stage[In, Out], item: In, work: Workspace, bench: Bench) -> _Job:
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker, args=(stage, item, work, theirs, bench))
    with theirs, _PROCESSES:
        try:
            ready()
            with _no_arguments():
                process.start()
        except (EOFError, ConnectionError):
            ours.close()  # which ends the worker, should there be one
            raise LostServerError from None
        return _Job(stage.key(item), process, _server(), ours, time.monotonic() + stage.needs.seconds)


def _message(job: _Job, longest: int, halt: Sequence[Connection]) -> bytes:
    """The line that a worker sends, or as much of it as comes before its end or deadline, or is more than `longest`.

    It is read as it comes: a worker that was taken over may stop anywhere, or leave the pipe to a child.
    """
    line = bytearray()
    while line[-1:] != END and len(line) <= longest and (left := job.deadline - time.monotonic()) > 0:
        over = wait([job.pipe, job.process.sentinel, *halt], left)
        if any(end in over for end in halt):
            raise InterruptedError(job.key)
        part = b""
        with contextlib.suppress(OSError):
            part = os.read(job.pipe.fileno(), PIECE) if job.pipe in over else b""
        if not part:
            break
        line += part
    wait([job.process.sentinel], GRACE if line[-1:] == END else 0)
    return bytes(line)


def _ended(job: _Job, stage: Stage[In, Out]) -> Outcome[Out]:
    """The outcome that the end of a worker amounts to which sent none. Raises `LostServerError`."""
    if time.monotonic() >= job.deadline:
        return Outcome(job.key, FAILED, "timeout", f"no outcome within {stage.needs.seconds:g} s", ())
    wait([job.process.sentinel], GRACE)
    with _PROCESSES:
        job.process.join(0)
    if job.process.exitcode == UNKNOWN and _lost(job.server):
        raise LostServerError
    return epitaph(job.process.exitcode, stage.needs, job.key)


def _kill(job: _Job) -> None:
    """End a worker with everything it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(job.process.pid, signal.SIGKILL)
    with _PROCESSES:
        job.process.kill()
        job.process.join()
    job.pipe.close()


def _worker(stage: Stage[In, Out], item: In, work: Workspace, pipe: Connection, bench: Bench) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tempfile.tempdir = str(bench.folder)
    if stage.needs.network:
        os.environ.update(bench.variables)
    inputs = {work.path(span.file) for span in stage.reads(item)}
    lacking = confine(stage.needs, Room(tuple(inputs), (work.root / work.folder, bench.folder)), {pipe.fileno()})
    threading.Thread(target=_die_with_driver, args=(pipe,), daemon=True).start()
    if bench.required and stage.needs.network:  # it is not confined; one that is cannot ask the kernel any more
        lacking = missing()
    if bench.required and lacking:
        outcome: Outcome[Out] = Outcome(stage.key(item), FAILED, UNCONFINED, lacking, ())
    else:
        outcome = attempt(stage, item, work)
    line = message(outcome) + END
    with open(pipe.fileno(), "wb", closefd=False) as file:
        file.write(line)


def _die_with_driver(pipe: Connection) -> None:
    # The driver sends nothing: the pipe becomes readable when it is gone, be it by SIGKILL.
    pipe.poll(None)
    os.killpg(0, signal.SIGKILL)
