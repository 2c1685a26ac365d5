"""One request budget and one circuit breaker per egress address, shared by all worker processes through a file, and
by those of other machines through the one that keeps the file (`collection.politeness.keeper`).

The budget is a token bucket in its virtual-scheduling form (the generic cell rate algorithm of ITU-T I.371): the state
is one time, so a worker reserves its moment under the lock and sleeps outside of it, and a worker that dies loses no
one else's turn.
The breaker (Nygard, "Release It!", 2007) opens after a run of blocked answers from a site, refuses all work for that
site while it cools down, then lets one worker ask; each refusal lengthens the next pause. Answers that may speak of
the items alone (`OF_ITEMS`) are doubted: every run may try another item at once, and the pause stays the same.

The state survives restarts: times are wall-clock seconds.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from collection.engine.stage import Retry
from mlst.files import open_lock, write
from mlst.text import number_of


@dataclass(frozen=True, slots=True)
class Patience:
    """How one worker retries: full-jitter exponential back-off (Brooker, AWS Architecture Blog, 2015)."""

    attempts: int = 5
    """Of one request, when the network fails; after 429 at most 3, and other refusals are not repeated."""
    base: float = 1.0
    """Seconds; the n-th wait is drawn from [0, base * 2^n]."""
    longest: float = 30.0
    silence: float = 20.0
    """Seconds a connection may be silent."""
    longest_told: float = 120.0
    """Seconds; when a server's Retry-After asks for more, the item is left to the next run."""

    def of(self, kind: str) -> int:
        """Attempts that a kind of refusal gets."""
        if kind == "blocked.rate":
            return min(3, self.attempts)
        return self.attempts if kind.startswith("network.") and kind != "network.deadline" else 1


def retrying(
    patience: Patience, latest: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Retrying:
    """Repeats a call that raises `Retry` as `patience` says, never beginning a wait that would end after `latest`."""
    backoff = wait_random_exponential(multiplier=patience.base, max=patience.longest)

    def wait(state: RetryCallState) -> float:
        told: float = getattr(_raised(state), "after", 0.0)
        return told or float(backoff(state))

    def stop(state: RetryCallState) -> bool:
        why, pause = _raised(state), state.upcoming_sleep
        allowed = patience.of(why.kind) if isinstance(why, Retry) else 1
        told = getattr(why, "after", 0.0) > patience.longest_told
        return state.attempt_number >= allowed or told or clock() + pause > latest

    return Retrying(retry=retry_if_exception_type(Retry), wait=wait, stop=stop, sleep=sleep, reraise=True)


def _raised(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


OF_ITEMS = ("blocked.forbidden", "blocked.formats", "blocked.client", "blocked.sabr", "blocked.token")
"""Refusals that may have to do with the item asked for as well as with us."""

LONGEST_LOOK = 60
"""Seconds to wait for the try of another item, which may show that the site refuses only some."""

MOST_REFUSED = 1000
"""Items of a site whose refusals are remembered."""

LONGEST_QUEUE = 6 * 3600.0
"""Seconds; reservations further ahead than this can only come from a clock that was set back, and are forgotten."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How often one egress address may ask; changes no byte of what is fetched.

    The default lets a guest fetch about 240 videos an hour at ten requests each. yt-dlp's wiki ("This content isn't
    available, try again later") gives about 300 videos or 1000 requests for web pages and player data an hour as what
    YouTube tolerates from a guest.
    """

    requests_per_minute: float = 40.0
    burst: int = 10
    """Requests that may follow one another directly after a pause."""
    spacing: float = 0.25
    """Seconds between any two requests at least."""
    breaker_after: int = 3
    """Blocked outcomes in a row that open the breaker."""
    cooldown: float = 600.0
    """Seconds of the first pause; doubled by each further refusal."""
    longest_cooldown: float = 4 * 3600.0
    exempt: tuple[str, ...] = ()
    """Host names that are asked without limit, e.g. a mirror of one's own."""

    def __post_init__(self) -> None:
        positive = (self.requests_per_minute, self.burst, self.breaker_after, self.cooldown, self.longest_cooldown)
        if min(positive) <= 0 or self.spacing < 0:
            raise ValueError(f"{self}: rates, counts and cool-downs must be above 0, spacing at least 0")


@dataclass(slots=True)
class Breaker:
    """What is known of one site."""

    blocked: int = 0
    """Blocked outcomes since the last answer that was none."""
    certain: bool = False
    """Whether one of them was not of `OF_ITEMS`."""
    until: float = 0.0
    """No request before this time."""
    cooldown: float = 0.0
    """Length of the last pause; 0 while closed."""
    trial: float = 0.0
    """When the one worker that may ask after a pause was let through; 0 for none."""
    run: str = ""
    """The run that has used up its try."""
    last: str = ""
    """The item that was refused last and has not yet left the next try to another one."""
    refused: dict[str, float] = field(default_factory=dict)
    """Items that were refused, the latest `MOST_REFUSED`, and when last."""
    granted: float = 0.0
    """When an item was last given."""

    def closed(self) -> "Breaker":
        """With nothing against the site, but with its memory."""
        return Breaker(refused=self.refused, granted=self.granted)


@dataclass(slots=True)
class State:
    """What the file holds for one egress address."""

    requests: int = 0
    """Requests made so far."""
    arrival: float = 0.0
    """The theoretical arrival time of the next request (I.371)."""
    last: float = 0.0
    """When the last request was made or will be."""
    seen: float = 0.0
    """The clock when the state was last looked at."""
    holds: dict[str, float] = field(default_factory=dict)
    """By host: no request before this time, because the server said Retry-After."""
    breakers: dict[str, Breaker] = field(default_factory=dict)

    def look(self, now: float) -> None:
        """Where the clock was set back since the last look, all that is to come moves with it."""
        back, self.seen = max(0.0, self.seen - now), now
        self.arrival, self.last = self.arrival - back, self.last - back
        self.holds = {host: until - back for host, until in self.holds.items()}
        for breaker in self.breakers.values() if back else ():
            breaker.until -= back
            breaker.trial = max(0.0, breaker.trial - back)


class Politeness:
    """The budget and breaker of the egress address `egress`, kept in `folder`.

    `clock` gives wall-clock seconds; `sleep` waits.
    """

    def __init__(
        self,
        folder: Path,
        egress: str,
        budget: Budget,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.budget, self._clock, self._sleep = budget, clock, sleep
        label = re.sub(r"[^A-Za-z0-9]+", "-", egress)[:32]
        self._path = folder / f"egress-{label}-{hashlib.sha256(egress.encode()).hexdigest()[:8]}.json"

    def take(self, host: str, patience: float = math.inf) -> None:
        """Wait for a turn to send one request to `host`, so many seconds at most.

        Raises `Retry`, without using a turn, when it would come later: `blocked.rate` if the host asked to be left
        alone so long, else `network.deadline`.
        """
        if host in self.budget.exempt:
            return
        wait = self.reserve(host, patience)
        if wait > 0:
            self._sleep(wait)

    def reserve(self, host: str, patience: float) -> float:
        """Take the next turn to send one request to `host`: how many seconds from now it is, at most `patience`."""
        with self._locked() as state:
            now = self._clock()
            latest, held = now + patience, state.holds.get(host, 0.0)
            if latest < held < now + LONGEST_QUEUE:
                raise Retry("blocked.rate", f"{host} asked to be left alone for another {held - now:.0f} s")
            turn = self._turn(state, now, held)
            if turn > latest:
                raise Retry("network.deadline", f"the request budget gives no turn within {patience:.0f} s")
            state.arrival = max(turn, state.arrival) + 60 / self.budget.requests_per_minute
            state.last = turn
            state.requests += 1
            return turn - now

    def hold(self, host: str, seconds: float) -> None:
        """Nobody asks `host` anything for so long: what its Retry-After asks for."""
        if host in self.budget.exempt:
            return
        with self._locked() as state:
            now = self._clock()
            state.holds = {name: until for name, until in state.holds.items() if until > now}
            state.holds[host] = max(state.holds.get(host, 0.0), now + min(seconds, self.budget.longest_cooldown))

    def enter(self, site: str, item: str, run: str) -> None:
        """Ask whether work on an item of `site` may begin; waits for another item's try that may clear the site.

        Raises `Retry("blocked.breaker")` while the site's breaker is open, and once for the item refused last:
        the next try goes to another one.
        """
        for _ in range(LONGEST_LOOK):
            wait = self.admit(site, item, run)
            if not wait:
                return
            self._sleep(wait)
        raise Retry("blocked.breaker", f"{site} refused others, and the try with another item takes long")

    def admit(self, site: str, item: str, run: str) -> float:
        """As `enter`, but does not wait: gives the seconds until it should be asked again, 0 to begin."""
        with self._locked() as state:
            breaker, now = state.breakers.setdefault(site, Breaker()), self._clock()
            if breaker.cooldown == 0:
                return 0.0
            cooling = 0 < breaker.until - now <= self.budget.longest_cooldown
            busy = breaker.trial and 0 <= now - breaker.trial < breaker.cooldown
            if busy and not breaker.certain and breaker.run == run:
                return 1.0
            if busy or (cooling and (breaker.certain or run == breaker.run)):
                why = "pausing before the next try"
            elif item == breaker.last:
                breaker.last, why = "", "leaving the next try to another item"
            else:
                breaker.trial, breaker.run, why = now, run, ""
        if why:
            raise Retry("blocked.breaker", f"{site} refused {number_of(breaker.blocked, 'time')} in a row; {why}")
        return 0.0

    def report(self, site: str, item: str, kind: str) -> bool:
        """Tell how work on an item of `site` ended: "" when done, else the outcome's kind.

        `blocked.*` counts against the site, an answer of any other sort clears it; what says nothing of the site
        (`network.*`, `unknown`) changes nothing. Returns whether a refusal is the item's own: it was refused before
        too, while the site gave other items, and no other one has been refused since.
        """
        if kind == "blocked.breaker":
            return False
        with self._locked() as state:
            breaker, now = state.breakers.setdefault(site, Breaker()), self._clock()
            breaker.trial = 0.0
            if kind.startswith("blocked."):
                return self._refused(breaker, item, kind, now)
            if not kind.startswith(("network.", "unknown")):
                state.breakers[site] = closed = breaker.closed()
                if not kind:
                    closed.granted = now
                    closed.refused.pop(item, None)
            return False

    def snapshot(self) -> State:
        """The state as it stands."""
        with self._locked() as state:
            return state

    def _turn(self, state: State, now: float, held: float) -> float:
        tolerance = (self.budget.burst - 1) * 60 / self.budget.requests_per_minute
        turns = (state.arrival - tolerance, state.last + self.budget.spacing, held)
        return max(now, *(t for t in turns if t - now < LONGEST_QUEUE), now)

    def _refused(self, breaker: Breaker, item: str, kind: str, now: float) -> bool:
        again = item in breaker.refused
        alone = breaker.blocked == 0 or (breaker.blocked == 1 and breaker.last == item)
        breaker.refused.pop(item, None)
        breaker.refused = dict([*breaker.refused.items(), (item, now)][-MOST_REFUSED:])
        if again and alone and breaker.granted and not breaker.cooldown and kind in OF_ITEMS:
            return True
        breaker.blocked += 1
        breaker.certain |= kind not in OF_ITEMS
        breaker.last = item
        if breaker.cooldown or breaker.blocked >= self.budget.breaker_after:
            self._pause(breaker, now)
        return False

    def _pause(self, breaker: Breaker, now: float) -> None:
        """Open the breaker, or keep it open; the pause is longer than the last one if it is certain what it is for."""
        longer = min(breaker.cooldown * (2 if breaker.certain else 1), self.budget.longest_cooldown)
        already = breaker.until > now
        breaker.cooldown = breaker.cooldown if already else max(longer, self.budget.cooldown)
        breaker.until = max(breaker.until, now + breaker.cooldown)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[State]:
        """The state under an exclusive lock; written back whole when the block ends without an error."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open_lock(self._path.with_suffix(".lock")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = _read(self._path)
            state.look(self._clock())
            yield state
            write(self._path, json.dumps(asdict(state)))


def _read(path: Path) -> State:
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        breakers = {site: Breaker(**b) for site, b in raw.pop("breakers").items()}
        return State(**raw, breakers=breakers)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return State()
