"""Builds one dataset in many ways and prints the sha256 of what came out: every line has to be the same.

    python -m benchmarks.same_bytes [--recipe manifests/demo/recipe.toml] [--out out/same-bytes] [--kills 20] [WAY ...]

Ways: other numbers of workers, a shuffled manifest, another folder and environment, videos kept and tiny waves, no
AVX, killed with SIGKILL at random moments and resumed, Ray, Ray with two nodes of which one is killed, a workspace and
a dataset in an object store (S3, served by moto on this machine). Exit status 1 where two differ, or where outcomes do
not add up to the manifest.
"""

import argparse
import csv
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fsspec

from collection.recipe import read_recipe

MLST = [sys.executable, "-m", "collection"]
PARTS = ("data/**/*.tar", "metadata/clips.parquet", "dataset.json", "**/*")


@dataclass(frozen=True, slots=True)
class Lab:
    """Where and of what the ways build."""

    recipe: Path
    folder: Path
    kills: int
    seed: int
    notes: dict[str, str] = field(default_factory=dict)
    """What a way has to say besides its hashes."""

    def __call__(self, name: str, *options: str, program: Sequence[str] = MLST, recipe: Path | None = None) -> str:
        """Build into the folder `name` and give its path; the workspace is new."""
        out = self.fresh(name)
        run([*program, "build", str(recipe or self.recipe), "--out", str(out), "--no-verify", *options], out)
        return str(out)

    def fresh(self, name: str) -> Path:
        """A dataset's folder that is not there yet."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)
        return self.folder / name / "dataset"


def run(command: Sequence[str], out: Path, **environment: str) -> None:
    """Run to a good end, what it says in a file beside `out`."""
    with (out.parent / "log.txt").open("ab") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, **environment})


def two_workers(lab: Lab) -> str:
    """Two at a time."""
    return lab("two-workers", "--workers", "2")


def one_worker(lab: Lab) -> str:
    """One at a time."""
    return lab("one-worker", "--workers", "1")


def small_waves(lab: Lab) -> str:
    """Waves of two sources, each source's video deleted behind it."""
    return lab("small-waves", "--wave", "2")


def kept_videos(lab: Lab) -> str:
    """All videos stay."""
    return lab("kept-videos", "--keep-videos")


def shuffled(lab: Lab) -> str:
    """The manifest's rows in another order."""
    folder = lab.fresh("shuffled").parent / "manifest"
    shutil.copytree(lab.recipe.parent, folder)
    sources = folder / read_recipe(lab.recipe).sources
    with sources.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    random.Random(lab.seed).shuffle(rows)
    with sources.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    out = folder.parent / "dataset"
    run([*MLST, "build", str(folder / lab.recipe.name), "--out", str(out), "--no-verify"], out)
    return str(out)


def elsewhere(lab: Lab) -> str:
    """A deep folder with spaces, another time zone, locale and hash seed."""
    out = lab.fresh("else where") / "ä b" / "dataset"
    out.parent.mkdir(parents=True)
    command = [*MLST, "build", str(lab.recipe.resolve()), "--out", str(out), "--no-verify"]
    run(command, out, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="12345")
    return str(out)


def without_avx(lab: Lab) -> str:
    """FFmpeg, x264, NumPy and OpenCV see nothing newer than SSE4.2."""
    return lab("without-avx", program=[sys.executable, "-m", "benchmarks.without_avx"])


def killed(lab: Lab) -> str:
    """SIGKILL to the driver, or to it and its workers, at random moments; built anew until there were enough kills."""
    dice, kills, builds, moments = random.Random(lab.seed), 0, 0, list[float]()
    began = time.monotonic()
    out = lab("killed-never")
    usual, first = time.monotonic() - began, hashes(out)
    while kills < lab.kills:
        place = lab.fresh(f"killed-{builds}")
        command = [*MLST, "build", str(lab.recipe), "--out", str(place), "--no-verify"]
        while interrupted(command, place, moment := dice.uniform(0.5, usual), group=dice.random() < 0.5):
            kills += 1
            moments.append(moment)
            check_sum(lab, place)
        check_sum(lab, place)
        builds, out = builds + 1, str(place)
        if hashes(out) != first:
            sys.exit(f"killed build {builds} differs from the one that was left alone: {hashes(out)}, {first}")
    spread = f"{min(moments):.1f} to {max(moments):.1f} s after the start" if moments else ""
    lab.notes["killed"] = f"{kills} kills in {builds} builds, {spread} (undisturbed: {usual:.0f} s)"
    return out


def interrupted(command: Sequence[str], out: Path, moment: float, group: bool) -> bool:
    """Run `command` and kill it after `moment` seconds; whether it was still running then."""
    with (out.parent / "log.txt").open("ab") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            if driver.wait(moment):
                sys.exit(f"the build in {out} failed with status {driver.returncode}; see log.txt there")
            return False
        except subprocess.TimeoutExpired:
            if group:
                os.killpg(driver.pid, signal.SIGKILL)
            driver.kill()
            driver.wait()
            return True


def check_sum(lab: Lab, out: Path) -> None:
    """The outcomes that `mlst status` counts have to add up to the manifest."""
    work = out.with_name(out.name + "-work")
    said = subprocess.run([*MLST, "status", str(work), "--json"], capture_output=True, text=True, check=False)
    if said.returncode:
        if "no build has run" in said.stderr:  # killed before it began
            return
        sys.exit(f"mlst status failed: {said.stderr}")
    counts = Counter[str]()
    for line in json.loads(said.stdout):
        counts[line["stage"]] += line["count"]
    rows = sum(1 for _ in (lab.recipe.parent / read_recipe(lab.recipe).sources).open(encoding="utf-8")) - 1
    if counts and counts["fetch"] != rows:
        sys.exit(f"{counts['fetch']} outcomes and pending items of fetch for {rows} rows: {said.stdout}")


def ray(lab: Lab) -> str:
    """Ray on this machine."""
    return lab("ray", "--executor", "ray", "--workers", "2")


def ray_cluster(lab: Lab) -> str:
    """A head and two nodes of one CPU, one of them killed while it works."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415, an extra

    out = lab.fresh("ray-cluster")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    command = [*MLST, "build", str(lab.recipe), "--out", str(out), "--no-verify", "--executor", "ray"]
    try:
        with (out.parent / "log.txt").open("ab") as log:
            driver = subprocess.Popen([*command, "--address", cluster.address], stdout=log, stderr=log)
            done = wait_for_scans(out.with_name("dataset-work"), 3, driver)
            cluster.remove_node(nodes[0], allow_graceful=False)
            if driver.wait():
                sys.exit(f"the build on a cluster failed; see {out.parent / 'log.txt'}")
    finally:
        cluster.shutdown()
    lab.notes["ray-cluster"] = f"one of two nodes killed when {done} sources were scanned"
    return str(out)


def wait_for_scans(work: Path, count: int, driver: "subprocess.Popen[bytes]") -> int:
    """Until so many sources are scanned."""
    while driver.poll() is None:
        done = sum(file.read_bytes().count(b'"status":"done"') for file in work.glob("scan-*/ledger/*.jsonl"))
        if done >= count:
            return done
        time.sleep(0.2)
    sys.exit(f"the build ended before {count} sources were scanned")


def object_store(lab: Lab) -> str:
    """Workspace and dataset in a bucket."""
    out = lab.fresh("object-store")
    with s3() as environment:
        options = ["--out", "s3://mlst/dataset", "--work", "s3://mlst/work", "--no-verify"]
        run([*MLST, "build", str(lab.recipe), *options], out, **environment)
        os.environ.update(environment)
        fsspec.filesystem("s3", skip_instance_cache=True).get("mlst/dataset", str(out), recursive=True)
    return str(out)


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """An S3 server with the bucket `mlst`, and the environment that leads there."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415, for tests

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        os.environ.update(environment)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("mlst")
        yield environment
    finally:
        server.stop()


def hashes(out: str) -> tuple[str, ...]:
    """sha256 over the names and bytes of the shards, the index, `dataset.json`, and of all files; "" for none."""
    return tuple(_digest(Path(out), pattern) if out else "" for pattern in PARTS)


def _digest(out: Path, pattern: str) -> str:
    files = sorted(path for path in out.glob(pattern) if path.is_file())
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(out)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest() if files else ""


WAYS: dict[str, Callable[[Lab], str]] = {
    way.__name__.replace("_", "-"): way
    for way in (
        two_workers,
        one_worker,
        small_waves,
        kept_videos,
        shuffled,
        elsewhere,
        without_avx,
        killed,
        ray,
        ray_cluster,
        object_store,
    )
}


def main() -> None:
    """Build in every way that was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"by default all: {', '.join(WAYS)}")
    parser.add_argument("--recipe", type=Path, default=Path("manifests/demo/recipe.toml"))
    parser.add_argument("--out", type=Path, default=Path("out/same-bytes"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lab = Lab(arguments.recipe, arguments.out, arguments.kills, arguments.seed)
    print(f"{'way':14} {'shards':16} {'clips.parquet':16} {'dataset.json':16} {'all files':16} seconds", flush=True)
    seen = set()
    for name in arguments.ways or WAYS:
        began = time.monotonic()
        found = hashes(WAYS[name](lab))
        seen.add(found)
        cells = " ".join(f"{digest[:16]:16}" for digest in found)
        print(f"{name:14} {cells} {time.monotonic() - began:7.1f}  {lab.notes.get(name, '')}", flush=True)
    alike = len(seen) == 1 and all(next(iter(seen)))
    print("All the same." if alike else f"{len(seen)} different results.")
    sys.exit(not alike)


if __name__ == "__main__":
    main()
