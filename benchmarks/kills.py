"""SIGKILL at random moments: `python -m benchmarks.kills [KIND ...] [--seed 1] [--json FILE]`.

The driver of a build, one of its workers, its fork server, a worker that packs, the publisher (to a Hub on loopback),
the trainer and a node of a Ray cluster are killed 40 times in all. The same command is run again until it ends well;
then its files have to be, byte for byte, those of one that was left alone, and no process may be left.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.badday import MLST, hashes, made
from tests import tiny
from tests.astm.data.media import mnist
from tests.hub_server import TOKEN, Hub

PATIENCE = 180.0
"""Seconds after which a command is said to hang."""
IN_A_ROW = 2
"""Kills before a command is left alone: an item that breaks three workers is quarantined, as it should be."""
PUBLISH = """
import sys
from huggingface_hub import _upload_pipeline
from collection.cli.main import main
if __name__ == "__main__":
    _upload_pipeline.COMMIT_SIZE_SCALE = [8] * 10  # so that a small dataset takes several commits
    main()
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A command that may be run again until it is done, and what it has made then."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    result: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill."""

    kind: str
    moment: float
    """Seconds after the start of the command."""
    status: int
    """With which the command ended then."""
    clean: bool
    """Whether it ended without a traceback, which says nothing where it was killed itself."""
    equal: bool
    """Whether the same command made the right bytes in the end."""
    left: int
    """Processes that were still there five seconds after the command had ended."""


Make = Callable[[int], Session]
"""The session of a number, in a new folder."""
Victim = Callable[[int, Path], int]
"""The process to kill now, of a command's process and folder; 0 for none."""


def family(pid: int) -> dict[int, int]:
    """Processes that `pid` has started, directly or not, with their parents."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(name)] = int(parent)
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: parents[child] for child in found - {pid}}


def driver(pid: int, _: Path) -> int:
    """The command itself."""
    return pid


def fork_server(pid: int, _: Path) -> int:
    """The fork server of a build."""
    for child, parent in family(pid).items():
        with contextlib.suppress(OSError):
            if parent == pid and b"multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    return 0


def worker(pid: int, folder: Path) -> int:
    """The youngest of a build's workers."""
    server = fork_server(pid, folder)
    return max((child for child, parent in family(pid).items() if server and parent == server), default=0)


def packer(pid: int, folder: Path) -> int:
    """A worker that packs."""
    return worker(pid, folder) if any(folder.glob("*-work/pack-*/.item-*")) else 0


def killed(session: Session, victim: Victim, moment: float) -> tuple[float, int, bool, int]:
    """Run a command and kill `victim` after `moment` seconds or as soon as there is one then: when that was (-1 for
    never), the command's status, whether it ended cleanly, processes left."""
    with (session.folder / "log.txt").open("w+") as log:
        began, at = time.monotonic(), -1.0
        process = subprocess.Popen(
            session.command, env={**os.environ, **session.environment}, stdout=log, stderr=log, start_new_session=True
        )
        seen: set[int] = set()
        while process.poll() is None and time.monotonic() - began < PATIENCE:
            if at < 0 and time.monotonic() - began >= moment and (pid := victim(process.pid, session.folder)):
                seen |= family(process.pid).keys()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    at = time.monotonic() - began
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
            sys.exit(f"{' '.join(session.command)} hangs; it was killed after {PATIENCE} s")
        log.seek(0)
        said = log.read()
    left = gone(seen)
    return at, process.returncode, not ("Traceback (most recent" in said or "Aborted!" in said), left


def gone(pids: set[int]) -> int:
    """How many of the processes are there after five seconds."""
    end = time.monotonic() + 5
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return len(left)


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def kills(
    kind: str, make: Callable[[int], Session], victim: Victim, count: int, dice: random.Random
) -> Iterator[Kill]:
    """Kill until it was `count` times."""
    session = make(0)
    began = time.monotonic()
    if killed(session, lambda *_: 0, 0.0)[1]:
        sys.exit(f"{kind}: left alone, {' '.join(session.command)} fails; see {session.folder}/log.txt")
    usual, right, number, done = time.monotonic() - began, session.result(), 0, 0
    while done < count:
        number += 1
        session, found, status = make(number), list[tuple[float, int, bool, int]](), -1
        for attempt in range(10):
            moment = dice.uniform(0.0, usual) if attempt < IN_A_ROW and done + len(found) < count else PATIENCE
            one = killed(session, victim, moment)
            found += [one] if one[0] >= 0 else []
            status = one[1]
            if status == 0:
                break
        equal = status == 0 and session.result() == right
        done += len(found)
        for at, ended, clean, left in found:
            yield Kill(kind, round(at, 2), ended, clean, equal, left)
        shutil.rmtree(session.folder)


def builds(folder: Path) -> Make:
    """Builds of two small videos."""
    made(folder / "manifest")

    def make(number: int) -> Session:
        place = folder / str(number)
        place.mkdir()
        recipe = str(folder / "manifest" / "recipe.toml")
        command = [*MLST, "build", recipe, "--out", str(place / "data"), "--no-verify"]
        return Session(command, {}, place, lambda: hashes(place / "data"))

    return make


def publications(folder: Path, hub: Hub) -> Make:
    """Publications of a small dataset, each to a repository of its own."""
    script = folder / "publish.py"
    script.write_text(PUBLISH)

    def make(number: int) -> Session:
        place = folder / str(number)
        shutil.copytree(tiny.built(), place / "dataset")
        name = f"someone/tiny{number}"
        command = [sys.executable, str(script), "publish", str(place / "dataset"), name, "--mode", "clips"]
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "home"), "HF_TOKEN": TOKEN}
        environment["PYTHONPATH"] = str(Path.cwd())
        return Session([*command, "--tag", "v1.0.0"], environment, place, lambda: on_hub(hub, name))

    return make


def on_hub(hub: Hub, name: str) -> dict[str, str]:
    """Hashes of the files of a repository, under its tag too; the name of the repository is in the card."""
    return {
        f"{revision} {path}": entry.oid
        for revision in ("main", "v1.0.0")
        for path, entry in hub.files(name, revision).items()
        if path.startswith(("data/", "metadata/")) or path == "dataset.json"
    }


def trainings(folder: Path) -> Make:
    """Runs of a small model."""
    root = mnist(folder / "mnist")
    settings = ["model.hidden=[4]", "model.patch=8", "data.size=32", "data.past=3", "data.horizon=2"]
    settings += ["train.batch_size=2", "train.steps=120", "train.validate_on=2", "train.validate_every=30"]
    settings += ["run.log_every=10", "run.save_every=10"]

    def make(number: int) -> Session:
        place = folder / str(number)
        place.mkdir()
        command = [sys.executable, "-m", "astm", "train", "convlstm", "--out", str(place / "run"), "--device", "cpu"]
        return Session([*command, f"data.root={root}", *settings], {}, place, lambda: weights(place / "run"))

    return make


def weights(run: Path) -> dict[str, str]:
    """Hashes of a run's weights: what it says besides has times in it."""
    return {name: value for name, value in hashes(run).items() if name.endswith(".safetensors")}


def node(folder: Path) -> Kill:
    """A node of a cluster of two that is killed while it works."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415, an extra

    make = builds(folder)
    plain, session = make(0), make(1)
    killed(plain, lambda *_: 0, 0.0)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        command = [*session.command, "--executor", "ray", "--address", cluster.address]
        with (session.folder / "log.txt").open("w+") as log:
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=log, stderr=log)
            while process.poll() is None and not any((session.folder / "data-work").glob("fetch-*/ledger/*")):
                time.sleep(0.02)
            at = time.monotonic() - began
            cluster.remove_node(nodes[0], allow_graceful=False)
            status = process.wait(PATIENCE)
            log.seek(0)
            clean = "Traceback (most recent" not in log.read()
        return Kill("Ray node", round(at, 2), status, clean, session.result() == plain.result(), 0)
    finally:
        cluster.shutdown()


BUILDS: Mapping[str, tuple[Victim, int]] = {
    "driver": (driver, 9),
    "worker": (worker, 9),
    "fork server": (fork_server, 9),
    "packer": (packer, 3),
}


def all_kills(folder: Path, wanted: Sequence[str], seed: int) -> Iterator[Kill]:
    """All of the kinds that are wanted."""
    for kind, (victim, count) in BUILDS.items():
        if kind in wanted:
            yield from kills(kind, builds(fresh(folder, kind)), victim, count, random.Random(f"{seed} {kind}"))
    if "publisher" in wanted:
        place = fresh(folder, "publisher")
        hub = Hub(place / "hub")
        yield from kills("publisher", publications(place, hub), driver, 4, random.Random(f"{seed} publisher"))
        hub.close()
    if "trainer" in wanted:
        place = fresh(folder, "trainer")
        yield from kills("trainer", trainings(place), driver, 5, random.Random(f"{seed} trainer"))
    if "node" in wanted:
        yield node(fresh(folder, "node"))


def fresh(folder: Path, name: str) -> Path:
    """A new folder."""
    place = folder / name.replace(" ", "-")
    place.mkdir()
    return place


KINDS = (*BUILDS, "publisher", "trainer", "node")


def table(found: Sequence[Kill]) -> str:
    """A line per kind."""
    lines = ["| killed | times | seconds after the start | ended cleanly | equal bytes | processes left |"]
    lines += ["|---|---:|---|---:|---:|---:|"]
    for kind in dict.fromkeys(kill.kind for kill in found):
        of = [kill for kill in found if kill.kind == kind]
        moments = f"{min(k.moment for k in of)} to {max(k.moment for k in of)}"
        counts = (sum(k.clean for k in of), sum(k.equal for k in of), sum(k.left for k in of))
        lines.append(f"| {kind} | {len(of)} | {moments} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; exit status 1 where a kill was not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"by default all: {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for the single kills")
    options = parser.parse_args(argv)
    found: list[Kill] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="m-", ignore_cleanup_errors=True) as folder:
        for kill in all_kills(Path(folder), options.kinds or KINDS, options.seed):
            found.append(kill)
            print(kill, file=sys.stderr, flush=True)
    print(table(found))
    print(f"\n{len(found)} kills in {time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(kill) for kill in found], indent=1))
    sys.exit(not all(kill.clean and kill.equal and not kill.left for kill in found))


if __name__ == "__main__":
    main()
