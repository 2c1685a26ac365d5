"""One request budget for several machines, kept by one of them."""

import math
import socket
import threading

import pytest

from collection.engine.stage import Retry
from collection.politeness.budget import Budget, Politeness
from collection.politeness.keeper import politeness, serving

BUDGET = Budget(requests_per_minute=600, burst=2, spacing=0.0, breaker_after=1)


@pytest.fixture
def keeper(tmp_path):
    with serving(tmp_path, "127.0.0.1") as address:
        yield address


def test_turns_are_those_of_one_budget(keeper, tmp_path):
    near, far = Politeness(tmp_path, "default", BUDGET), politeness(keeper, "default", BUDGET)
    waits = [polite.reserve("host", 10.0) for polite in (near, far, near, far)]
    assert waits == pytest.approx([0, 0, 0.1, 0.2], abs=0.09)
    assert far.reserve("host", math.inf) > 0.1
    assert near.snapshot().requests == 5
    assert politeness(keeper, "other", BUDGET).reserve("host", 10.0) == 0


def test_refusals_reach_the_other_machine(keeper, tmp_path):
    near, far = Politeness(tmp_path, "default", BUDGET), politeness(keeper, "default", BUDGET)
    far.enter("site", "i", "r")
    far.report("site", "j", "blocked.rate")
    for polite in (near, far):
        with pytest.raises(Retry) as why:
            polite.enter("site", "i", "r")
        assert why.value.kind == "blocked.breaker"
    far.hold("host", 60.0)
    with pytest.raises(Retry) as why:
        near.reserve("host", 5.0)
    assert why.value.kind == "blocked.rate"


def test_many_ask_at_once(keeper, tmp_path):
    far = politeness(keeper, "default", Budget(requests_per_minute=6e6))
    threads = [threading.Thread(target=far.reserve, args=("host", 10.0)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Politeness(tmp_path, "default", BUDGET).snapshot().requests == 40


def test_strangers_get_nothing(keeper, tmp_path):
    token, place = keeper.removeprefix("tcp://").split("@")
    with pytest.raises(RuntimeError, match="wrong token"):
        politeness(f"tcp://{'0' * len(token)}@{place}", "default", BUDGET).reserve("host", 1.0)
    host, port = place.split(":")
    asked = f'{{"token": "{token}", "egress": "", "budget": {{}}, "do": "snapshot", "with": []}}\n'.encode()
    for line in (b"\n", b"[]\n", b"not json\n", b"\xff" * 70_000, asked):
        with socket.create_connection((host, int(port)), 5) as wire:
            wire.sendall(line)
            assert b'"error"' in wire.makefile("rb").readline()
    assert not list(tmp_path.iterdir())


def test_a_keeper_that_is_gone_is_no_fault_of_the_item(tmp_path):
    with serving(tmp_path, "127.0.0.1") as address:
        pass
    with pytest.raises(Retry) as why:
        politeness(address, "default", BUDGET).enter("site", "i", "r")
    assert why.value.kind == "unknown"
