"""Which system calls confined processes make, against those that they may: `python -m benchmarks.system_calls`.

Runs a small build (every container of `benchmarks.fuzz`, each detector, packing, a span that is cut) and the confined
decoding of a dataset's clips under `strace -f`, and counts the calls that each process makes once its filter is
installed, and what was answered with EPERM or ENOSYS. Run it after an upgrade of the C library, Python, NumPy, OpenCV
or FFmpeg: what is refused now is what the list of `mlst.sandbox.calls` lacks.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.fuzz import made
from collection.detectors import detector
from collection.engine.run import Driver
from collection.executors import Local
from collection.fetch.ytdlp import Access
from collection.order import read_order
from collection.pipeline import build
from collection.workspace.folder import Workspace
from mlst.sandbox.calls import ALLOWED, UNKNOWN, checked
from tests.collection.engine.stages import Quiet

LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
RECIPE = """\
name = "calls"
version = "1.0.0"
sources = "sources.csv"
[fetch]
extractors = []
local = true
[scan]
size = 32
length = 4
step = 4
margin = 0
detector = "{detector}"
columns = "all"
[select]
reject = []
"""
HEAD = "id,url,start,end,licence,title,channel,group,provenance\n"
FORESEEN = {"flock"}
"""Refused on purpose: a confined writer does not lock its unfinished files, which lie in a folder of its own."""
SKIPPED = ("transnet", "transnetv2")
"""Detectors that need weights."""


def work(folder: Path) -> None:
    """What is traced."""
    files = made(folder)
    for kind in sorted(set(detector) - set(SKIPPED)):
        rows = [f"{one.stem}{n},{one.name},0,,CC0-1.0,T,C,{one.stem},tests\n" for n, one in enumerate(files)]
        rows += [f"span{n},{one.name},0,0.3,CC0-1.0,T,C,{one.stem},tests\n" for n, one in enumerate(files[:2])]
        (folder / "sources.csv").write_text(HEAD + "".join(rows))
        (folder / "recipe.toml").write_text(RECIPE.format(detector=kind))
        do = Driver(Workspace(folder / f"{kind}-work", ""), Local(2), Quiet(), False, 99, False)
        built = build(read_order(folder / "recipe.toml", Access()), folder / kind, do)
        for result in built.results:
            print(kind, result.stage, dict(result.outcomes.counts), file=sys.stderr)


def counted(lines: Iterable[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """How often confined processes made each call, and which were refused with which error."""
    confined: set[str] = set()
    calls, refused = Counter[str](), Counter[tuple[str, str]]()
    for line in lines:
        found = LINE.match(line)
        if not found:
            continue
        pid, resumed, begun, rest = found.groups()
        name = resumed or begun
        if name == "prctl" and "PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {" in rest and rest.endswith("= 0"):
            confined.add(pid)
        elif pid in confined:
            calls[name] += not resumed
            if answer := re.search(r"= -1 (EPERM|ENOSYS) ", rest):
                refused[name, answer[1]] += 1
            if name in ("clone", "clone3") and (thread := re.search(r"= (\d+)$", rest)):
                confined.add(thread[1])
    return calls, refused


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; exit status 1 where a call is refused that is not meant to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work(options.work)
        return
    if not shutil.which("strace"):
        sys.exit("strace is not installed: apt install strace")
    with tempfile.TemporaryDirectory(prefix="m-") as name:
        trace, folder = Path(name) / "trace", Path(name) / "work"
        folder.mkdir()
        command = ["strace", "-f", "-qq", "-s", "0", "-o", str(trace), sys.executable, "-m", __spec__.name]
        subprocess.run([*command, "--work", str(folder)], check=True)
        with trace.open(errors="replace") as lines:
            calls, refused = counted(lines)
    some = checked(0)
    print("| call | times | refused |\n|---|---:|---|")
    for call, count in calls.most_common():
        answers = ", ".join(f"{n} {error}" for (name, error), n in refused.items() if name == call)
        print(f"| {call} | {count} | {answers} |")
    unused = [call for call in (*ALLOWED, *some) if call not in calls]
    print(f"\n{len(calls)} calls in use; allowed and not used: {', '.join(unused)}")
    odd = {name for name, _ in refused} - set(UNKNOWN) - set(some) - FORESEEN
    print(f"refused and not foreseen: {', '.join(sorted(odd)) or 'none'}")


if __name__ == "__main__":
    main()
