"""One contract for every executor: one outcome per item, whatever the item does to its worker."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collection.executors import Ray, executor
from collection.workspace.folder import Workspace
from tests.collection.engine.stages import Odd, Text, pids


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in executor])
def run_all(request):
    if request.param == "ray":
        request.getfixturevalue("nodes")
    return executor[request.param](workers=2)


def outcomes(execute, items, root):
    return {o.key: o for o in execute(Odd(shout=False), items, Workspace(root, "odd"))}


@pytest.mark.slow
def test_poison_costs_only_itself(run_all, tmp_path):
    items = ["a", "gone", "segfault", "b", "bug", "exit", "eat", "blocked", "hang", "c"]
    found = outcomes(run_all, items, tmp_path)
    assert {key: (o.status, o.kind) for key, o in found.items()} == {
        "a": ("done", ""),
        "b": ("done", ""),
        "c": ("done", ""),
        "gone": ("rejected", "gone.private"),
        "blocked": ("failed", "blocked.rate"),
        "bug": ("failed", "error"),
        "segfault": ("failed", "crashed"),
        "exit": ("failed", "crashed"),
        "eat": ("failed", "memory"),
        "hang": ("failed", "timeout"),
    }
    assert "ZeroDivisionError: bug" in found["bug"].detail
    assert "SIGSEGV" in found["segfault"].detail
    assert "status 7" in found["exit"].detail
    assert found["a"].outputs == (Text("a", "odd/a.txt"),)


def test_every_item_once_in_any_order(run_all, tmp_path):
    items = ["slow", *map(str, range(20))]
    keys = [o.key for o in run_all(Odd(shout=False), items, Workspace(tmp_path, "odd"))]
    assert sorted(keys) == sorted(items)


def test_no_items(run_all, tmp_path):
    assert outcomes(run_all, [], tmp_path) == {}


def test_items_are_taken_as_workers_come_free(run_all, tmp_path):
    taken = []

    def items():
        for n in range(20):
            taken.append(n)
            yield f"slow-{n}"

    results = run_all(Odd(shout=False), items(), Workspace(tmp_path, "odd"))
    next(results)
    assert len(taken) <= 8  # of a cluster to which tests before added nodes
    results.close()


@pytest.mark.slow
def test_workers_die_with_a_killed_driver(run_all, tmp_path, request):
    ray = isinstance(run_all, Ray)
    made = f"Ray(2, {request.getfixturevalue('nodes').address!r})" if ray else "Local(2)"
    code = (
        "from pathlib import Path; from collection.executors import Local, Ray\n"
        "from collection.workspace.folder import Workspace; from tests.collection.engine.stages import Odd\n"
        f"if __name__ == '__main__':\n    list({made}(Odd(shout=False), ['hang-1', 'hang-2'],"
        f" Workspace(Path({str(tmp_path)!r}), 'odd')))\n"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    driver = subprocess.Popen([sys.executable, str(script)], env=environment, start_new_session=True)
    waited = wait_for(lambda: len(pids(tmp_path)) >= 2, seconds=150)
    before = family(driver.pid) | pids(tmp_path)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert waited
    assert wait_for(lambda: not any(alive(pid) for pid in before)), before


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def family(pid):
    """Processes started by `pid`, directly or not."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, size = {pid}, 0
    while len(found) != size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def alive(pid):
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
