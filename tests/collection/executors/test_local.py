"""What the `local` executor must stand besides the contract of all: workers that lie, drivers that are killed."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from collection.engine.ledger import breaks
from collection.engine.stage import DONE, FAILED
from collection.executors import Local, forks, local
from collection.workspace.folder import Workspace
from mlst.exits import REMEDIES
from tests.collection.engine.stages import Odd, calls, pids
from tests.collection.executors.test_executors import alive, wait_for
from tests.collection.sandbox.hijacked import Hijacked, Littering

ENDS = {
    "half": (FAILED, "timeout"),
    "trickle": (FAILED, "timeout"),
    "flood": (FAILED, "crashed"),
    "half-and-exit": (FAILED, "crashed"),
    "child": (FAILED, "message"),  # there is no child: its error follows half a message
    "drip": (DONE, ""),
    "honest": (DONE, ""),
}


@pytest.mark.slow
def test_a_worker_may_stop_in_the_middle_of_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE", 0.2)
    began = time.monotonic()
    found = {o.key: o for o in Local(4)(Hijacked(), ENDS, Workspace(tmp_path, "hijacked"))}
    assert {key: (o.status, o.kind) for key, o in found.items()} == ENDS
    assert time.monotonic() - began < 40  # sleeps of 60 s are not waited for
    assert found["flood"].detail == "worker sent no outcome and did not end"


def test_a_killed_fork_server_costs_nothing_but_time(tmp_path: Path) -> None:
    items = ["orphan", "slow", "a", "b"]
    found = {o.key: (o.status, o.kind) for o in Local(2)(Odd(shout=False), items, Workspace(tmp_path, "odd"))}
    assert found == dict.fromkeys(items, (DONE, ""))
    assert calls(tmp_path).count("orphan") == 2


def test_a_fork_server_that_is_killed_as_it_starts_a_worker(tmp_path: Path) -> None:
    """It has taken the request, and its answer never comes."""
    local.ready()
    server = local._server()
    os.kill(server, signal.SIGSTOP)
    timer = threading.Timer(0.3, os.kill, (server, signal.SIGKILL))
    timer.start()
    (outcome,) = Local(1)(Odd(shout=False), ["a"], Workspace(tmp_path, "odd"))
    timer.join()
    assert outcome.status == DONE
    assert local._server() != server


def test_an_item_whose_fork_servers_are_all_killed_is_not_blamed(tmp_path: Path) -> None:
    (outcome,) = Local(1)(Odd(shout=False), ["lonely"], Workspace(tmp_path, "odd"))
    assert (outcome.status, outcome.kind) == (FAILED, "unknown.server")
    assert not breaks(outcome.status, outcome.kind)
    assert len(calls(tmp_path)) == local.STARTS
    assert wait_for(lambda: not any(map(alive, pids(tmp_path))))


STILLBORN = """
import multiprocessing
import sys
from pathlib import Path
from collection.executors import Local
from collection.workspace.folder import Workspace
from tests.collection.engine.stages import Odd
if __name__ == "__main__":
    multiprocessing.set_executable("/bin/false")
    found = Local(4)(Odd(shout=False), map(str, range(16)), Workspace(Path(sys.argv[1]), "odd"))
    print({(o.status, o.kind) for o in found})
"""


def test_fork_servers_that_die_while_threads_start_workers(tmp_path: Path) -> None:
    """Each thread finds that it has to start the next one."""
    (tmp_path / "driver.py").write_text(STILLBORN)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", str(tmp_path / "driver.py"), str(tmp_path)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert ran.stdout == "{('failed', 'unknown.server')}\n", ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_fork_server_is_deaf_to_ctrl_c_from_the_first_moment_and_workers_are_not(tmp_path: Path) -> None:
    if local._runs():
        os.kill(local._server(), signal.SIGKILL)
        local._await_end(local._server())
    local.ready()
    assert signal.SIGINT in blocked(local._server())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    (outcome,) = Local(1)(Odd(shout=False), ["interrupt"], Workspace(tmp_path, "odd"))
    assert outcome.detail == "worker killed by SIGINT"


def blocked(process: int) -> set[int]:
    """The signals that a process blocks."""
    (mask,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigBlk"))
    return {number + 1 for number in range(64) if int(mask.split()[1], 16) >> number & 1}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_that_cannot_be_started_leaves_nothing_open() -> None:
    local.ready()
    socket = Path(forkserver._forkserver._forkserver_address)  # type: ignore[attr-defined]  # typeshed has no such name
    hidden = socket.rename(socket.with_suffix(".hidden"))
    before = set(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(FileNotFoundError):
            forks.start(forks.prepared(), forks.Task(print, ()))
    finally:
        hidden.rename(socket)
    assert set(os.listdir("/proc/self/fd")) == before


def test_workers_are_not_told_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mlst", "build", "--proxy", "http://user:password@host"])
    (outcome,) = Local(1)(Odd(shout=False), ["argv"], Workspace(tmp_path, "odd"))
    assert outcome.status == DONE
    assert sys.argv[1:]


def test_a_worker_finds_no_temporary_files_of_another(tmp_path: Path) -> None:
    _, second = Local(1)(Littering(), ["quick", "look"], Workspace(tmp_path, "littering"))
    assert (second.kind, second.detail) == ("seen", "")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_disk_that_fails_is_not_held_against_the_item(tmp_path: Path) -> None:
    (outcome,) = Local(1)(Odd(shout=False), ["disk"], Workspace(tmp_path, "odd"))
    assert (outcome.status, outcome.kind) == (FAILED, "machine.eio")
    assert outcome.detail == f"Input/output error; {REMEDIES[errno.EIO]}"
    assert not breaks(outcome.status, outcome.kind)


DRIVER = """
import sys
from pathlib import Path
from collection.executors import Local
from collection.workspace.folder import Workspace
from tests.collection.sandbox.hijacked import Littering
if __name__ == "__main__":
    root, *items = sys.argv[1:]
    assert all(o.status == "done" for o in Local(2)(Littering(), items, Workspace(Path(root), "littering")))
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: the fork server's socket lies below TMPDIR, and may have 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="m-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_what_workers_of_a_killed_driver_left_is_removed(tmp_path: Path, short: Path) -> None:
    """By the next build of the same user, while those of a driver that lives keep theirs."""

    def litter() -> set[Path]:
        files = {Path(top, name) for top, _, names in os.walk(short) for name in names}  # which may go meanwhile
        return {path for path in files if path.suffix == ".tmp"}

    with driver(tmp_path, short, "one", "two") as killed:
        assert wait_for(lambda: len(litter()) == 2, seconds=60)
        killed.kill()
        killed.wait()
    left = litter()
    assert len(left) == 2
    with driver(tmp_path, short, "one", "two"):
        assert wait_for(lambda: len(litter() - left) == 2, seconds=60)
        theirs = litter()
        assert not theirs & left
        with driver(tmp_path, short, "quick") as other:
            assert other.wait() == 0
        assert litter() == theirs
    with driver(tmp_path, short, "quick") as last:
        assert last.wait() == 0
    (workers,) = short.glob("mlst-*/workers")
    assert [path.name for path in workers.iterdir()] == [".lock"]


@contextlib.contextmanager
def driver(folder: Path, temporary: Path, *items: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A build of its own, killed afterwards. Items that are not `quick` never end."""
    script, root = folder / "driver.py", folder / "work"
    script.write_text(DRIVER)
    root.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, str(script), str(root), *items], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
