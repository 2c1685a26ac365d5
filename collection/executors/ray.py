"""Ray Core tasks, one per item, on this machine or on a cluster (the extra `mlst[ray]`).

A task does its item through the same confined process as `local`, so that hostile media never meets a Ray worker and
an item's fault is an outcome like any other. What is left to Ray is that a node or a worker of Ray's goes: then the
item is given out again, by us and not by Ray, which would not tell us.
"""

import logging
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from collection.engine.stage import FAILED, In, Out, Outcome, Stage
from collection.executors.local import confined, ready
from collection.executors.staging import staged
from collection.politeness.keeper import serving
from collection.sandbox.outcome import judged, message
from collection.workspace.folder import Workspace
from collection.workspace.store import Stored, StoreError
from mlst.exits import UserError

LOSSES = 3
"""How often an item is given out again after its node or Ray worker was lost."""
AHEAD = 2
"""Tasks per CPU that Ray knows of: it starts the next one without asking, and sees that it could use more nodes."""
LOST = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "ObjectLostError", "OutOfMemoryError")
"""Ray's errors, with those derived from them, that say nothing about the item."""
OBJECTS = 128 << 20
"""Bytes of shared memory for a Ray of our own: only settings and outcomes travel."""

PATIENCE = 10.0
"""Seconds a cluster has to answer."""


class RayError(UserError, RuntimeError):
    """Ray is not installed, or the cluster cannot be joined."""


@dataclass(frozen=True, slots=True)
class Ray:
    """Runs items as tasks of one CPU each, on the cluster at `address`, "auto" for the one that this machine is part
    of, or "" for a Ray of this machine's own with `workers` CPUs."""

    workers: int
    address: str = ""
    required: bool = False
    """See `Local.required`."""

    def __call__(self, stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
        """One outcome per item, as they finish. Raises `RayError`."""
        if isinstance(work, Stored) and work.store.url.startswith("memory:"):
            raise StoreError(f"{work.store.url}: memory:// lives in one process; Ray's workers need a store or path")
        ray = joined(self)
        lost = tuple(getattr(ray.exceptions, name) for name in LOST)
        task = ray.remote(num_cpus=1, max_retries=0)(_do)
        fresh, again = ((item, 0) for item in items), deque[tuple[In, int]]()
        running: dict[Any, tuple[In, int]] = {}
        with ExitStack() as stack:
            keeper = ""
            if stage.needs.network:
                host = ray.util.get_node_ip_address()
                keeper = stack.enter_context(serving(work.shared("politeness"), host))
            stack.callback(_cancel, ray, running)
            orders = ray.cloudpickle.dumps((stage, work, keeper, self.required))  # once, and not with every item
            while True:
                room = max(0, _window(ray, self.workers) - len(running))
                for item, losses in islice(chain(_popped(again), fresh), room):
                    running[task.remote(orders, item)] = item, losses
                if not running:
                    return
                (over, *_), _ = ray.wait(list(running), num_returns=1)
                item, losses = running.pop(over)
                try:
                    yield judged(ray.get(over), stage, item, work.folder)
                except lost as why:
                    if losses < LOSSES:
                        again.append((item, losses + 1))
                    else:
                        yield Outcome(stage.key(item), FAILED, "unknown.node", f"lost {losses + 1} times: {why}", ())


def _popped(again: deque[tuple[In, int]]) -> Iterator[tuple[In, int]]:
    while again:
        yield again.popleft()


def _do(orders: bytes, item: In) -> bytes:
    """What a task is: the item's outcome as JSON."""
    told: tuple[Stage[In, object], Workspace, str, bool] = pickle.loads(orders)  # noqa: S301 - the driver's own
    stage, work, keeper, required = told
    # multiprocessing would run the main program, here Ray's own worker script, in every process it starts.
    vars(sys.modules["__main__"]).pop("__file__", None)
    ready()
    return message(staged(stage, item, work, keeper, partial(confined, required=required)))


def _window(ray: Any, least: int) -> int:
    return AHEAD * max(1, int(ray.cluster_resources().get("CPU", least)))


def _cancel(ray: Any, running: Iterable[Any]) -> None:
    for reference in running:
        ray.cancel(reference, force=True)


def joined(settings: Ray) -> Any:
    """The module `ray`, connected. A Ray of our own ends with this process."""
    try:
        import ray  # noqa: PLC0415, an extra that takes a second to import
    except ImportError:
        raise RayError('--executor ray needs Ray: pip install "mlst[ray]"') from None
    if ray.is_initialized():
        return ray
    _look_for(settings.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    own: dict[str, Any] = {"num_cpus": settings.workers, "object_store_memory": OBJECTS, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            settings.address or "local",
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **({} if settings.address else own),
        )
    except Exception as why:  # Ray raises plain ones too, for a node that takes more than 30 s to start
        what = f"the cluster at {settings.address!r} cannot be joined" if settings.address else "Ray does not start"
        raise RayError(f"{what}: {type(why).__name__}: {why}") from why
    finally:
        signal.signal(signal.SIGTERM, before)
    # Ray says on stdout that a node died, whatever log_to_driver is, and there it would be amid our JSON.
    ray._private.worker._worker_logs_enabled = False
    return ray


def _look_for(address: str) -> None:
    """Ask first whether anybody answers at an address: Ray itself keeps trying for minutes."""
    if address in ("", "auto"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise RayError(f"--address {address}: give HOST:PORT of the cluster, or auto on one of its machines")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as why:
        raise RayError(f"--address {address}: no cluster answers there: {why}") from None
