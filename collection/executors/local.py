"""A process per item, from a fork server that has everything imported.

A codec that crashes, hangs or eats memory costs its own item and nothing else: with a pool of long-lived workers one
crash breaks every pending item. A process takes some 10 ms of CPU until it begins its item: the server's fork, its own
unpickling, and what confines it.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from queue import Empty, SimpleQueue

from collection.engine.stage import FAILED, In, Out, Outcome, Stage, attempt
from collection.executors import forks
from collection.executors.forks import Fork, LostServerError, Task
from collection.executors.staging import staged
from collection.sandbox.environment import online, plain, replace_all
from collection.sandbox.kernel import confine
from collection.sandbox.outcome import epitaph, judged, message
from collection.workspace.folder import Workspace
from collection.workspace.store import scratch, user_folder
from mlst.files import remove_tree
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
        waiting, running, over = iter(items), 0, SimpleQueue[Future[Outcome[Out]]]()
        halt, stop = os.pipe()
        with (
            _bench(stage, self.required) as bench,
            _closed(halt),
            ThreadPoolExecutor(self.workers) as pool,
            _closed(stop),
        ):
            alone = partial(_at_bench, bench=bench, halt=(halt,))
            while True:
                for item in islice(waiting, self.workers - running):
                    pool.submit(staged, stage, item, work, "", alone).add_done_callback(over.put)
                    running += 1
                if not running:
                    return
                yield over.get().result()
                running -= 1


def ready(also: Sequence[str] = ()) -> None:
    """Start the fork server, if there is none; it imports the modules `also` before it forks. What its environment
    holds its workers can read, also later on."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*also, PRELOAD])
    if not _runs():
        with _environment({**plain(os.environ), **ONE_THREAD}), _deaf():
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


def _await_end(server: int) -> None:
    """Wait until a fork server is known to have ended whose pipes are closed."""
    end = time.monotonic() + LAST_BREATH
    while _server() == server and _runs() and time.monotonic() < end:
        time.sleep(0.01)


def confined(stage: Stage[In, Out], item: In, work: Workspace, required: bool) -> Outcome[Out]:
    """Do one item in a process of its own."""
    with _bench(stage, required) as bench:
        return _at_bench(stage, item, work, bench, ())


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What all workers of a stage have in common, and are told in the same words."""

    before: bytes
    """See `forks.prepared`."""
    orders: bytes
    """A pickle of the stage, the variables of the environment of a worker with a network, and `Local.required`."""
    places: Path
    """Where they have folders for temporary files."""
    empty: SimpleQueue[Path]
    """Those that no worker has now."""


@contextlib.contextmanager
def _bench(stage: Stage[In, Out], required: bool) -> Iterator[Bench]:
    """Should this process be killed, the next that asks for one removes its folders."""
    orders = pickle.dumps((stage, online(os.environ) if stage.needs.network else {}, required))
    with scratch(user_folder() / "workers") as places:
        yield Bench(forks.prepared(), orders, places, SimpleQueue())


@contextlib.contextmanager
def _own(bench: Bench) -> Iterator[Path]:
    """An empty folder for the temporary files of one worker. Few leave any: then it is the next one's."""
    try:
        folder = bench.empty.get_nowait()
    except Empty:
        folder = Path(tempfile.mkdtemp(dir=bench.places))
    try:
        yield folder
    finally:
        if _is_empty(folder):
            bench.empty.put(folder)
        else:
            remove_tree(folder)


def _is_empty(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return not os.listdir(folder)
    return False


@contextlib.contextmanager
def _closed(handle: int) -> Iterator[None]:
    """Close an open file afterwards."""
    try:
        yield
    finally:
        os.close(handle)


def _at_bench(stage: Stage[In, Out], item: In, work: Workspace, bench: Bench, halt: Sequence[int]) -> Outcome[Out]:
    """Do one item in a process of its own. Raises `InterruptedError` when the other end of `halt` is closed."""
    for _ in range(STARTS):
        with contextlib.suppress(LostServerError), _own(bench) as folder:
            with _STARTING:
                ready()
                server = _server()
                process = forks.start(bench.before, Task(_worker, (bench.orders, item, work, folder)))
            try:
                return _answer(process, stage, item, work.folder, halt)
            finally:
                forks.end(process)
        _await_end(server)
    return Outcome(stage.key(item), FAILED, "unknown.server", f"its fork server was killed {STARTS} times", ())


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that SIGINT does not reach. A terminal sends it to the fork server too, which ignores it only
    when all is imported: before, it would die with a traceback, or go on with half of its modules."""
    resource_tracker.ensure_running()  # once it runs it leaves the mask alone; when started, it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    replace_all(variables)
    try:
        yield
    finally:
        replace_all(before)


_STARTING = threading.Lock()
"""A fork server is started with the environment of workers, which all threads of this process then have; and
`multiprocessing` looks after its address and pipe without a lock while another thread may start the next one. A server
forks one worker after the other anyway."""


def _answer(process: Fork, stage: Stage[In, Out], item: In, folder: str, halt: Sequence[int]) -> Outcome[Out]:
    """What a worker says of its item, or its end does. Raises `InterruptedError` and `LostServerError`."""
    deadline = time.monotonic() + stage.needs.seconds
    line = _message(process, deadline, stage.expects(item).message, halt)
    if line[-1:] == END:
        return judged(line, stage, item, folder)
    key = stage.key(item)
    if time.monotonic() >= deadline:
        return Outcome(key, FAILED, "timeout", f"no outcome within {stage.needs.seconds:g} s", ())
    over = forks.wait([process.status], GRACE)
    return epitaph(forks.exit_code(process) if over else None, stage.needs, key)


def _message(process: Fork, deadline: float, longest: int, halt: Sequence[int]) -> bytes:
    """The line that a worker sends, or as much of it as comes before its end or deadline, or is more than `longest`.

    It is read as it comes: a worker that was taken over may stop anywhere, or leave the pipe to a child.
    """
    line = bytearray()
    while line[-1:] != END and len(line) <= longest and (left := deadline - time.monotonic()) > 0:
        over = forks.wait([process.pipe, process.status, *halt], left)
        if any(end in over for end in halt):
            raise InterruptedError
        part = os.read(process.pipe, PIECE) if process.pipe in over else b""
        if not part and over:
            break
        line += part
    forks.wait([process.status], GRACE if line[-1:] == END else 0)
    return bytes(line)


def _worker(orders: bytes, item: In, work: Workspace, folder: Path, pipe: int, leash: int) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tempfile.tempdir = str(folder)
    told: tuple[Stage[In, object], Mapping[str, str], bool] = pickle.loads(orders)  # noqa: S301 - the driver's own
    stage, variables, required = told
    if stage.needs.network:
        os.environ.update(variables)
    inputs = {work.path(span.file) for span in stage.reads(item)}
    lacking = confine(stage.needs, Room(tuple(inputs), (work.root / work.folder, folder)), {pipe, leash})
    threading.Thread(target=_die_with_driver, args=(leash,), daemon=True).start()
    if required and stage.needs.network:  # it is not confined; one that is cannot ask the kernel any more
        lacking = missing()
    if required and lacking:
        outcome: Outcome[object] = Outcome(stage.key(item), FAILED, UNCONFINED, lacking, ())
    else:
        outcome = attempt(stage, item, work)
    line = message(outcome) + END
    with open(pipe, "wb", closefd=False) as file:
        file.write(line)


def _die_with_driver(leash: int) -> None:
    # Nothing is sent here: the end of the file comes when the driver is gone, be it by SIGKILL.
    os.read(leash, 1)
    os.killpg(0, signal.SIGKILL)
