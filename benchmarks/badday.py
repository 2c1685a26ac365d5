"""Bad days: `python -m benchmarks.badday [DAY ...] [--json FILE]`.

Each day a small dataset is built by the real command while something of the machine is missing: room on a disk, the
right to write, open files, memory, a clock that goes forward, a disk that answers. What must come out: the command
ends by itself, says why in lines without a traceback, and the same command on a good day gives the bytes of a build
that had no trouble. Days that mount a file system need root and are left out where that is not allowed.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.synthetic import Spec, texture, write

MLST = [sys.executable, "-m", "collection"]
PATIENCE = 120.0
"""Seconds after which a command is said to hang."""
FAULTS = Path(__file__).parent / "faults"
HEAD = "id,url,start,end,licence,title,channel,group,provenance\n"
RECIPE = """\
name = "badday"
version = "1.0.0"
sources = "sources.csv"
[fetch]
extractors = []
local = true
[scan]
size = 16
length = 6
step = 6
margin = 0
[select]
reject = []
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a day's build happens."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[tuple[int, int], ...] = ()

    @property
    def out(self) -> Path:
        """The dataset."""
        return self.folder / "data"

    @property
    def work(self) -> Path:
        """The workspace."""
        return self.folder / "data-work"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.folder / "t"

    def command(self) -> list[str]:
        """What is run, on good days and bad ones."""
        recipe = self.folder.parent / "manifest" / "recipe.toml"
        return [*MLST, "build", str(recipe), "--out", str(self.out), "--no-verify"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    said: str
    """The last line on standard error."""
    traceback: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a day came to."""

    day: str
    bad: tuple[Ended, ...]
    good: Ended
    equal: bool
    """Whether the good day's bytes are those of a build without trouble."""

    @property
    def right(self) -> bool:
        """Whether everything was as promised."""
        ends = (*self.bad, self.good)
        return self.equal and self.good.status == 0 and not any(e.traceback or e.status < 0 for e in ends)


def made(folder: Path) -> None:
    """Two videos and a recipe."""
    folder.mkdir()
    rows = []
    for seed, name in enumerate(("one", "two")):
        write(folder / f"{name}.mp4", Spec(26, 96, 64), lambda n, h, w, seed=seed: texture(n, h, w, seed))
        rows.append(f"{name},{name}.mp4,0,,CC0-1.0,Title,Channel,{name},tests\n")
    (folder / "sources.csv").write_text(HEAD + "".join(rows))
    (folder / "recipe.toml").write_text(RECIPE)


def run(place: Place) -> Ended:
    """The command under the day's conditions."""
    began = time.monotonic()
    process = start(place)
    return waited(process, began)


def start(place: Place) -> "subprocess.Popen[str]":
    """The command, begun."""
    place.temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(place.temporary), **place.environment}

    def limit() -> None:
        for which, value in place.limits:
            resource.setrlimit(which, (value, value))

    return subprocess.Popen(
        place.command(),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509, there are no threads here
    )


def waited(process: "subprocess.Popen[str]", began: float) -> Ended:
    """How it ended; status -9 where it had to be killed."""
    try:
        _, said = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    lines = [line for line in said.splitlines() if line.strip()]
    traceback = "Traceback (most recent call last)" in said or "Aborted!" in said
    return Ended(process.returncode, lines[-1].strip() if lines else "", traceback, time.monotonic() - began)


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at `folder`, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "badday", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change the disk at `folder`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


Day = Callable[[Place], Iterator[tuple[Ended, ...]]]
"""Yields how the bad day's commands ended, and then lets go of what was wrong."""


def full(which: str, size: str) -> Day:
    """No room on a disk."""

    def day(place: Place) -> Iterator[tuple[Ended, ...]]:
        folder = getattr(place, which)
        with small_disk(folder, f"size={size}"):
            ended = run(place)
            remount(folder, "size=200m,nr_inodes=100k")
            yield (ended,)

    return day


def read_only(which: str) -> Day:
    """A disk that cannot be written to."""

    def day(place: Place) -> Iterator[tuple[Ended, ...]]:
        folder = getattr(place, which)
        with small_disk(folder, "size=200m"):
            remount(folder, "ro")
            ended = run(place)
            remount(folder, "rw")
            yield (ended,)

    return day


def twice(*, apart: bool) -> Day:
    """Two builds at once, of one dataset; `apart` with a workspace each."""

    def day(place: Place) -> Iterator[tuple[Ended, ...]]:
        began = time.monotonic()
        other = Place(place.folder)
        first = start(place)
        command = place.command() + (["--work", str(place.folder / "other-work")] if apart else [])
        second = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(other.temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        yield waited(first, began), waited(second, began)

    return day


def limited(which: int, value: int) -> Day:
    """A limit of the shell's."""

    def day(place: Place) -> Iterator[tuple[Ended, ...]]:
        yield (run(Place(place.folder, limits=((which, value),))),)

    return day


def faulty(fault: str) -> Day:
    """A function of the system that fails in the driver and in its workers, see `benchmarks/faults`."""

    def day(place: Place) -> Iterator[tuple[Ended, ...]]:
        path = os.pathsep.join(
            [str(Path(__file__).parent / "faults"), os.environ.get("PYTHONPATH", ""), str(Path.cwd())]
        )
        yield (run(Place(place.folder, {"PYTHONPATH": path, "PYTHONFAULT": fault})),)

    return day


DAYS: dict[str, Day] = {
    **{f"workspace full at {size}": full("work", size) for size in ("4k", "40k", "100k", "160k", "220k", "300k")},
    **{f"output full at {size}": full("out", size) for size in ("4k", "24k", "60k")},
    **{f"TMPDIR full at {size}": full("temporary", size) for size in ("4k", "16k", "64k")},
    "no inodes left in the workspace": full("work", "100m,nr_inodes=40"),
    "workspace read-only": read_only("work"),
    "output read-only": read_only("out"),
    "TMPDIR read-only": read_only("temporary"),
    "two builds, one workspace": twice(apart=False),
    "two builds, one output": twice(apart=True),
    **{f"{count} open files": limited(resource.RLIMIT_NOFILE, count) for count in (64, 16)},
    **{f"{size} GiB of address space": limited(resource.RLIMIT_AS, size << 30) for size in (1, 2, 3)},
    **{f"files of at most {size} bytes": limited(resource.RLIMIT_FSIZE, size) for size in (0, 1000, 20000)},
    **{
        fault: faulty(fault)
        for fault in (
            "clock-back", "clock-forward", "clock-wild",
            "fsync-EIO", "fsync-EINVAL", "worker-fsync-EIO", "flock-ENOLCK", "replace-EIO",
        )
    },
}  # fmt: skip


def lived(name: str, folder: Path, right: Mapping[str, str]) -> Found:
    """One day, and the good one after it."""
    place = Place(folder)
    folder.mkdir()
    with ExitStack() as stack:
        day = DAYS[name](place)
        bad = next(day)
        stack.callback(lambda: next(day, None))
        good = run(place)
        return Found(name, bad, good, hashes(place.out) == right)


def may_mount(folder: Path) -> bool:
    """Whether this user may mount a file system."""
    try:
        with small_disk(folder / "try", "size=4k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table; exit status 1 where a day was not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("days", nargs="*", metavar="DAY", help="words that the names of days have; by default all")
    parser.add_argument("--json", type=Path, help="a file for the results")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="m-") as name:
        folder = Path(name)
        made(folder / "manifest")
        plain = Place(folder / "plain")
        plain.folder.mkdir()
        if run(plain).status:
            sys.exit("a build on a good day fails")
        right, mounts = hashes(plain.out), may_mount(folder)
        found = []
        print("| day | status | last line | seconds | then | same bytes |\n|---|---|---|---:|---:|---|")
        for n, day in enumerate(DAYS):
            if options.days and not any(word in day for word in options.days):
                continue
            if not mounts and any(word in day for word in ("full", "inodes", "read-only")):
                continue
            one = lived(day, folder / f"d{n}", right)
            found.append(one)
            for bad in one.bad:
                cells = (day, bad.status, bad.said.replace(str(folder), "")[:150], f"{bad.seconds:.0f}")
                print("|", " | ".join(map(str, cells)), "|", one.good.status, "|", one.equal, "|", flush=True)
    if options.json:
        options.json.write_text(json.dumps([{**asdict(one), "right": one.right} for one in found], indent=1))
    wrong = [one.day for one in found if not one.right]
    print(f"\n{len(found)} days, {len(wrong)} not as promised{': ' if wrong else ''}{', '.join(wrong)}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
