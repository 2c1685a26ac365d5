"""What only Ray has: nodes and Ray workers that go, one request budget for all nodes, an extra to install."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from collection import order as orders
from collection.cli.commands import app
from collection.engine.ledger import breaks
from collection.engine.run import Driver
from collection.engine.stage import Expected, Needs
from collection.executors import Ray
from collection.executors.ray import LOSSES, RayError, joined
from collection.fetch.ytdlp import Access
from collection.pipeline import build
from collection.politeness.budget import Budget
from collection.politeness.keeper import politeness
from collection.workspace.folder import Span, Workspace
from tests.collection.cli.test_main import hashes, recipe
from tests.collection.engine.stages import Odd, Quiet, Text, calls, note, pids
from tests.collection.executors.test_executors import alive, wait_for

pytestmark = pytest.mark.xdist_group("ray")


@dataclass(frozen=True, slots=True)
class Asker:
    """Takes turns of the request budget and notes when; the item `orphan` kills its Ray worker, items `stall-...` wait
    for the file `go`."""

    name: ClassVar[str] = "asker"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = Needs(seconds=200.0, memory=0, network=True)

    def settings(self) -> Any:
        return {}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Span]:
        return ()

    def expects(self, item: str) -> Expected:
        return Expected((item,), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterable[Text]:
        if item == "orphan":
            os.kill(parent(os.getppid()), signal.SIGKILL)
            time.sleep(60)
        if item.startswith("stall"):
            note(work, item)
            while not (work.root / "go").exists():
                time.sleep(0.05)
        polite = politeness(work.budget(), "default", BUDGET)
        with work.create(item) as (file, name):
            for _ in range(TURNS):
                polite.take("host")
                file.write(f"{time.time()}\n".encode())
        yield Text(work.budget().partition("://")[0], name)


BUDGET = Budget(requests_per_minute=600, burst=2, spacing=0.0)
TURNS = 4


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


class Killer(Quiet):
    """Kills a node when the first item of a stage has ended."""

    def __init__(self, nodes, stage):
        self.nodes, self.stage = nodes, stage

    def outcome(self, stage, outcome):
        if stage == self.stage and len(self.nodes.workers) == 2:
            self.nodes.kill()


def test_the_budget_is_one_for_all_nodes(two_nodes, tmp_path):
    items = [str(n) for n in range(6)]
    done = list(Ray(2)(Asker(), items, Workspace(tmp_path, "asker")))
    assert [(o.kind, o.detail) for o in done if not o.outputs] == []
    assert [o.outputs[0].item for o in done] == ["tcp"] * 6
    times = sorted(float(line) for item in items for line in (tmp_path / "asker" / item).read_text().split())
    assert len(times) == 6 * TURNS
    slack = 0.15  # s; a worker notes the time after its turn, on a busy machine 84 ms late
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            assert last - first + 1 <= BUDGET.burst + (times[last] - times[first] + slack) * 10


def test_items_of_a_lost_node_are_given_out_again(two_nodes, tmp_path):
    def cut():
        while len(calls(tmp_path)) < 2:
            time.sleep(0.05)
        two_nodes.kill()
        wait_for(lambda: sum(map(alive, pids(tmp_path))) == 1)
        (tmp_path / "go").touch()

    storm = threading.Thread(target=cut, daemon=True)
    storm.start()
    found = list(Ray(2)(Asker(), ["stall-1", "stall-2"], Workspace(tmp_path, "asker")))
    storm.join()
    assert sorted((o.key, o.status) for o in found) == [("stall-1", "done"), ("stall-2", "done")]
    assert len(calls(tmp_path)) == 3


def test_an_item_whose_ray_worker_is_always_lost_is_not_blamed(nodes, tmp_path):
    (outcome,) = Ray(2)(Asker(), ["orphan"], Workspace(tmp_path, "asker"))
    assert (outcome.key, outcome.status, outcome.kind) == ("orphan", "failed", "unknown.node")
    assert outcome.detail.startswith(f"lost {LOSSES + 1} times")
    assert not breaks(outcome.status, outcome.kind)


def test_a_build_that_loses_a_node_has_the_same_bytes(two_nodes, plain, tmp_path):
    path, wanted = plain
    work = Workspace(tmp_path / "work", "")
    do = Driver(work, Ray(2), Killer(two_nodes, "scan"), retry=False, wave=9, keep_videos=False)
    build(orders.read_order(path, Access()), tmp_path / "data", do)
    assert len(two_nodes.workers) == 1
    assert hashes(tmp_path / "data") == wanted


def test_ray_says_nothing_on_stdout(nodes, capsys):
    """There is our JSON; `print_to_stdstream` is where Ray's thread tells of lost nodes."""
    ray = joined(Ray(2, nodes.address))
    ray._private.worker.print_to_stdstream(
        {"lines": ["a node died"], "pid": "raylet", "is_err": False}, ignore_prefix=False
    )
    assert capsys.readouterr() == ("", "")


def test_without_the_extra_its_name_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r'pip install "mlst\[ray\]"'):
        list(Ray(1)(Odd(shout=False), ["a"], Workspace(tmp_path, "odd")))


def test_addresses_are_for_ray_alone(tmp_path):
    path = recipe(tmp_path, rows=["water"])
    ran = CliRunner().invoke(app, ["build", str(path), "--out", str(tmp_path / "data"), "--address", "auto"])
    assert ran.exit_code == 2
    assert "only --executor ray" in ran.output


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1:1", "no cluster answers there"), ("ray://host:10001", "HOST:PORT"), ("host", "HOST:PORT")],
)
def test_a_cluster_that_is_not_there_is_named(monkeypatch, address, words):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(RayError, match=f"{address}: .*{words}"):
        joined(Ray(1, address))
