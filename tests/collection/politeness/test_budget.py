"""The request budget and the breaker, on a clock of the tests and across real processes."""

import json
import multiprocessing
import time
from itertools import pairwise
from pathlib import Path

import pytest

from collection.engine.stage import Rejected, Retry
from collection.fetch.reasons import Later
from collection.politeness.budget import Budget, Patience, Politeness, retrying


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def polite(folder: Path, clock: Clock, egress: str = "a", **budget: float) -> Politeness:
    return Politeness(folder, egress, Budget(**budget), clock, clock.sleep)  # type: ignore[arg-type]


def turns(one: Politeness, clock: Clock, count: int) -> list[float]:
    began, times = clock.now, []
    for _ in range(count):
        one.take("h")
        times.append(clock.now - began)
    return times


def test_burst_then_rate_with_spacing(tmp_path: Path) -> None:
    clock = Clock()
    times = turns(polite(tmp_path, clock, requests_per_minute=60, burst=3, spacing=0.25), clock, 8)
    assert times == pytest.approx([0, 0.25, 0.5, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("burst", [1, 10])
def test_no_minute_has_more_than_rate_and_burst(tmp_path: Path, burst: int) -> None:
    clock = Clock()
    times = turns(polite(tmp_path, clock, requests_per_minute=40, burst=burst, spacing=0), clock, 200)
    assert max(sum(t <= u < t + 60 for u in times) for t in times) <= 40 + burst


def test_pause_refills_the_burst_and_no_more(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, requests_per_minute=60, burst=3, spacing=0)
    turns(one, clock, 10)
    clock.now += 3600
    assert turns(one, clock, 5) == pytest.approx([0, 0, 0, 1, 2])


def test_state_survives_a_restart_and_egresses_are_apart(tmp_path: Path) -> None:
    clock = Clock()
    turns(polite(tmp_path, clock, requests_per_minute=60, burst=1, spacing=0), clock, 5)
    assert turns(polite(tmp_path, clock, requests_per_minute=60, burst=1, spacing=0), clock, 1) == [1]
    assert turns(polite(tmp_path, clock, "b", requests_per_minute=60, burst=1, spacing=0), clock, 1) == [0]
    assert polite(tmp_path, clock).snapshot().requests == 6


def test_deadline_uses_no_turn(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, requests_per_minute=1, burst=1, spacing=0)
    one.take("h")
    with pytest.raises(Retry, match=r"network\.deadline"):
        one.take("h", patience=59)
    one.take("h", patience=61)
    assert one.snapshot().requests == 2


def test_retry_after_holds_everybody(tmp_path: Path) -> None:
    clock = Clock()
    polite(tmp_path, clock).hold("h", 30)
    polite(tmp_path, clock).take("other host")
    assert turns(polite(tmp_path, clock), clock, 1) == [30]
    polite(tmp_path, clock).hold("h", 30)
    with pytest.raises(Retry, match=r"blocked\.rate"):
        polite(tmp_path, clock).take("h", patience=29)


def test_exempt_host(tmp_path: Path) -> None:
    clock = Clock()
    one = Politeness(tmp_path, "a", Budget(1, 1, exempt=("mirror",)), clock, clock.sleep)
    for _ in range(50):
        one.take("mirror")
    one.take("mirror.example")
    assert clock.now == 1e9
    assert one.snapshot().requests == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"requests": "x"}', '{"requests": 1, "breakers": {"s": {"what": 1}}}']
)
def test_damaged_state_starts_anew(tmp_path: Path, content: str) -> None:
    clock = Clock()
    one = polite(tmp_path, clock)
    one.take("h")
    (state,) = tmp_path.glob("*.json")
    state.write_text(content)
    one.take("h")
    assert json.loads(state.read_text())["requests"] == 1


@pytest.mark.parametrize("back", [10, 3000, 5 * 3600, 365 * 86400])
def test_a_clock_set_back_changes_no_wait(tmp_path: Path, back: int) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, requests_per_minute=60, burst=1, spacing=0, breaker_after=1, cooldown=600)
    one.take("h")
    one.hold("held", 30)
    one.report("site", "a", "blocked.bot")
    clock.now -= back
    assert one.reserve("h", 60) == pytest.approx(1)
    assert one.reserve("held", 60) == pytest.approx(30)
    with pytest.raises(Retry, match="pausing"):
        one.admit("site", "b", "another run")
    clock.now += 601
    assert one.admit("site", "b", "another run") == 0


def ask(folder: Path, count: int) -> None:
    one = Politeness(folder, "a", Budget(requests_per_minute=6000, burst=1, spacing=0.0))
    for _ in range(count):
        one.take("h")
        with (folder / f"{multiprocessing.current_process().pid}.times").open("a") as file:
            file.write(f"{time.time()}\n")


def test_processes_share_one_budget(tmp_path: Path) -> None:
    workers = [multiprocessing.get_context("fork").Process(target=ask, args=(tmp_path, 20)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    times = sorted(float(t) for path in tmp_path.glob("*.times") for t in path.read_text().split())
    assert len(times) == 80
    assert times[-1] - times[0] >= 0.01 * 79 - 0.02
    assert Politeness(tmp_path, "a", Budget()).snapshot().requests == 80


def test_breaker_opens_cools_down_and_closes(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=3, cooldown=100, longest_cooldown=350)
    for kind in ("blocked.bot", "blocked.rate", "", "blocked.bot", "network.timeout", "blocked.bot"):
        one.enter("s", "i", "r")
        one.report("s", "j", kind)
    one.enter("s", "i", "r")
    one.report("s", "j", "blocked.forbidden")
    pauses = []
    for _ in range(4):
        began = clock.now
        while refused(polite(tmp_path, clock, cooldown=100, longest_cooldown=350), "s"):
            clock.now += 1
        pauses.append(clock.now - began)
        assert refused(one, "s"), "only one worker may try"
        one.report("s", "j", "blocked.bot")
    assert pauses == [100, 200, 350, 350]
    one.enter("other site", "i", "r")
    clock.now += 351
    one.enter("s", "i", "r")
    one.report("s", "j", "gone.private")
    one.report("s", "j", "blocked.bot")
    one.enter("s", "i", "r")


def test_lost_trial_is_given_to_another(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=1, cooldown=100)
    one.report("s", "j", "blocked.bot")
    clock.now += 100
    one.enter("s", "i", "r")
    assert refused(one, "s")
    one.report("s", "j", "network.reset")
    one.enter("s", "i", "r")
    assert refused(one, "s")
    clock.now += 100
    one.enter("s", "i", "r")


def test_refusals_while_open_do_not_lengthen_the_pause(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=1, cooldown=100)
    for _ in range(5):
        one.report("s", "j", "blocked.bot")
    clock.now += 100
    one.enter("s", "i", "r")


def refused(one: Politeness, site: str) -> bool:
    try:
        one.enter(site, "i", "r")
    except Retry as why:
        return why.kind == "blocked.breaker"
    return False


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Retry("network.reset", ""), 5),
        (Retry("network.deadline", ""), 1),
        (Retry("blocked.rate", ""), 3),
        (Retry("blocked.bot", ""), 1),
        (Retry("unknown", ""), 1),
        (Rejected("gone.private", ""), 1),
        (Later("blocked.rate", "", 60.0), 3),
        (Later("blocked.rate", "", 121.0), 1),
        (ValueError("a bug"), 1),
    ],
)
def test_attempts_by_class(error: Exception, calls: int) -> None:
    clock, made = Clock(), []

    def call() -> None:
        made.append(clock.now)
        raise error

    with pytest.raises(type(error)):
        retrying(Patience(), clock.now + 1e6, clock, clock.sleep)(call)
    assert len(made) == calls
    if isinstance(error, Later):
        assert all(b - a == 60 for a, b in pairwise(made))


def test_back_off_grows_is_jittered_and_keeps_the_deadline() -> None:
    clock, made = Clock(), []

    def call() -> None:
        made.append(clock.now)
        raise Retry("network.reset", "")

    with pytest.raises(Retry):
        retrying(Patience(attempts=1000), clock.now + 200, clock, clock.sleep)(call)
    waits = [b - a for a, b in pairwise(made)]
    assert len(set(waits)) == len(waits)
    assert all(w <= min(30, 2**n) for n, w in enumerate(waits))
    assert clock.now <= 1e9 + 200


def run(one: Politeness, run: str, says: dict[str, str]) -> dict[str, str]:
    """What became of the items that a run asks for, one after the other; `says` is the site's answer to each."""
    became = {}
    for item, kind in says.items():
        try:
            one.enter("s", item, run)
        except Retry as why:
            became[item] = why.kind
            continue
        became[item] = "own" if one.report("s", item, kind) else kind
    return became


NO = "blocked.forbidden"


def test_items_that_are_refused_first_do_not_keep_the_others_from_being_asked(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=3)
    says = dict.fromkeys("abc", NO) | dict.fromkeys("defg", "")
    assert run(one, "1", says) == says
    assert run(one, "2", dict.fromkeys("abc", NO)) == dict.fromkeys("abc", "own")


def test_every_run_gets_on_however_many_items_are_refused_first(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=3, cooldown=100)
    bad, left = [f"bad{n}" for n in range(8)], [f"bad{n}" for n in range(8)] + ["good1", "good2"]
    runs = 0
    while "good2" in left:
        runs += 1
        became = run(one, f"{runs}", {item: NO if item in bad else "" for item in left})
        asked = [item for item in left if became[item] != "blocked.breaker"]
        assert asked, "no run without progress"
        left = [item for item in left if item not in asked] + [item for item in asked if became[item] == NO]
        assert one.snapshot().breakers["s"].cooldown in (0, 100), "the pause is not doubled"
    assert runs == 6


def test_others_wait_for_the_try_that_may_clear_the_site(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=2, cooldown=100)
    run(one, "1", {"a": NO, "b": NO})
    one.enter("s", "c", "1")
    other = polite(tmp_path, clock, breaker_after=2, cooldown=100)
    assert other.admit("s", "d", "1") == 1
    one.report("s", "c", "")
    other.enter("s", "d", "1")
    run(one, "2", {"h": NO, "e": NO})
    one.enter("s", "f", "2")
    with pytest.raises(Retry, match=r"blocked\.breaker"):
        other.enter("s", "g", "2")
    assert clock.now == 1e9 + 60


def test_the_next_try_goes_to_another_item(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=2, cooldown=100)
    assert run(one, "1", {"a": "blocked.bot", "b": "blocked.bot"}) == {"a": "blocked.bot", "b": "blocked.bot"}
    clock.now += 100
    assert run(one, "2", {"b": "blocked.bot", "a": ""}) == {"b": "blocked.breaker", "a": ""}
    one.enter("s", "b", "2")


def test_an_item_that_is_alone_is_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=1, cooldown=100)
    one.report("s", "a", "blocked.bot")
    clock.now += 100
    assert run(one, "2", {"a": ""}) == {"a": "blocked.breaker"}
    assert run(one, "3", {"a": ""}) == {"a": ""}


def test_a_refusal_is_no_fate_while_the_site_may_refuse_us(tmp_path: Path) -> None:
    clock = Clock()
    one = polite(tmp_path, clock, breaker_after=3, cooldown=100)
    run(one, "1", {"a": "", "b": NO, "c": NO})
    assert "own" not in run(one, "2", dict.fromkeys("bc", NO)).values()
    assert "own" not in run(one, "3", dict.fromkeys("bc", NO)).values()
    other = polite(tmp_path, clock, "other egress")
    run(other, "1", {"a": "", "b": "blocked.bot"})
    assert run(other, "2", {"b": "blocked.bot"}) == {"b": "blocked.bot"}
    fresh = polite(tmp_path, clock, "fresh")
    assert run(fresh, "1", {"a": NO}) == run(fresh, "2", {"a": NO}) == {"a": NO}, "nothing was ever given"


def test_budget_is_checked() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Budget(requests_per_minute=0)
