"""Workspaces and datasets in an object store, on a real S3 server: the same bytes as in folders, also after a kill."""

import contextlib
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial

import pytest

from collection import order as orders
from collection.engine.run import Driver
from collection.executors import Local, Ray
from collection.fetch.ytdlp import Access
from collection.pipeline import build
from collection.report.status import status
from collection.workspace.folder import Span, Workspace, WorkspaceBusyError
from collection.workspace.store import Store, Stored, StoreError, copy_file, finished, looked_at, opened, scratch
from mlst.checking.verify import verify
from tests import tiny
from tests.collection.cli.test_main import ROOT, mlst, recipe
from tests.collection.engine.stages import Odd, Quiet
from tests.s3_server import files

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(params=["s3", "memory"])
def store(request, tmp_path):
    base = request.getfixturevalue("bucket") if request.param == "s3" else "memory:/"
    return Store(f"{base}/{tmp_path.name}")


def stored(store, root):
    root.mkdir(exist_ok=True)
    return Stored(root, "stage-1", store)


def listing(url):
    """sha256 of every file below a URL."""
    store, base = files(), url.removeprefix("s3://")
    return {
        name.removeprefix(f"{base}/"): hashlib.sha256(store.cat_file(name)).hexdigest() for name in store.find(base)
    }


def changed(url):
    """When every file below a URL was written."""
    return {name: one["LastModified"] for name, one in files().find(url, detail=True).items()}


def test_a_file_is_there_whole_or_not_at_all(store, tmp_path):
    here = stored(store, tmp_path / "here")
    with pytest.raises(ZeroDivisionError), here.create("a/b.txt") as (file, _):
        file.write(b"half%d" % (1 // file.tell()))
    assert (here.exists("stage-1/a/b.txt"), here.names("stage-1/a")) == (False, [])
    with here.create("a/b.txt") as (file, name):
        file.write(b"whole")
    assert (name, here.size(name), here.names("stage-1/a")) == ("stage-1/a/b.txt", 5, [name])
    elsewhere = stored(store, tmp_path / "elsewhere")
    assert elsewhere.path(name).read_bytes() == b"whole"
    elsewhere.remove(name)
    elsewhere.remove(name)
    assert not here.exists(name)


def test_what_is_not_there_is_no_error(store, tmp_path):
    here = stored(store, tmp_path / "here")
    assert not here.path("stage-1/none").exists()
    assert here.names("stage-1") == []
    assert here.size("stage-1/none") == -1


def test_a_file_that_grows_is_synced_whole(store, tmp_path):
    here, there = stored(store, tmp_path / "here"), stored(store, tmp_path / "there")
    with here.path("ledger").open("wb") as file:
        for line in (b"one\n", b"two\n"):
            file.write(line)
            file.flush()
            here.sync("ledger")
            assert stored(store, tmp_path / line.decode().strip()).path("ledger").read_bytes().endswith(line)
    assert there.path("ledger").read_bytes() == b"one\ntwo\n"


def test_spans_lie_at_their_offsets(store, tmp_path, monkeypatch):
    monkeypatch.setattr("collection.workspace.store.CHUNK", 7)
    data = bytes(range(256))
    (tmp_path / "data").write_bytes(data)
    store.put(tmp_path / "data", "clips/a.bin")
    folder = stored(store, tmp_path / "here").spans([Span("clips/a.bin", 100, 50), Span("clips/a.bin", 3, 1)])
    found = (folder / "clips/a.bin").read_bytes()
    assert found == bytes(3) + data[3:4] + bytes(96) + data[100:150]
    with pytest.raises(StoreError, match="6 bytes at 250, not 7"):
        store.read([Span("clips/a.bin", 250, 7)], tmp_path / "here")
    with pytest.raises(FileNotFoundError):
        store.read([Span("clips/b.bin", 0, 7)], tmp_path / "here")


def test_shards_go_from_anywhere_to_anywhere(store, tmp_path):
    (tmp_path / "plain").mkdir()
    plain, one = Workspace(tmp_path / "plain", ""), stored(store, tmp_path / "one")
    two = stored(Store(f"{store.url}/two"), tmp_path / "two")
    memory = stored(Store(f"memory://{tmp_path.name}"), tmp_path / "memory")
    (plain.root / "a").write_bytes(b"shard")
    chain = [(plain, "a"), (one, "b"), (two, "c"), (memory, "d"), (plain, "deep/e")]
    for (source, name), (target, new) in itertools.pairwise(chain):
        copy_file(source, name, target, new)
        assert target.size(new) == 5
    assert (plain.root / "deep/e").read_bytes() == b"shard"


def test_one_driver_at_a_time(store, tmp_path):
    one, two = tmp_path / "machine", tmp_path / "other"
    one.mkdir()
    two.mkdir()
    with store.held(one):
        with pytest.raises(WorkspaceBusyError, match=rf"delete {store.url}/lock"), store.held(two):
            pass
        system, base = store.system()
        system.pipe_file(f"{base}/lock", system.cat_file(f"{base}/lock").replace(str(os.getpid()).encode(), b"1"))
    with store.held(one):
        pass  # of this machine only a driver that was killed can have left one
    with store.held(two):
        assert store.size("lock") > 0
    assert store.size("lock") == -1


def test_two_drivers_of_one_machine(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        opened(f"{bucket}/busy"),
        pytest.raises(WorkspaceBusyError, match="on this machine"),
        opened(f"{bucket}/busy/"),
    ):
        pass
    with opened(f"{bucket}/busy"):
        pass


def test_scratch_of_killed_workers_is_swept(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from collection.workspace.store import scratch\n"
        "with scratch(Path(sys.argv[1])) as folder: (folder / 'video').write_text('much'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert list(tmp_path.rglob("video"))
    with scratch(tmp_path) as mine, scratch(tmp_path) as other:
        assert (mine.is_dir(), other.is_dir()) == (True, True)
        assert not list(tmp_path.rglob("video"))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_links_and_unfinished_files_are_not_uploaded(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/good").write_text("x")
    (tmp_path / "a/.hidden").write_text("x")
    (tmp_path / "half.part").write_text("x")
    (tmp_path / "a/link").symlink_to("/etc/passwd")
    (tmp_path / "b").symlink_to("/etc")
    assert [path.relative_to(tmp_path).as_posix() for path in finished(tmp_path)] == ["a/good"]


@pytest.mark.parametrize(
    ("place", "words"),
    [("s3://no-such-bucket/x", "s3://no-such-bucket/x/lock: .*bucket"), ("s4://x", "s4; .*s3 and other protocols")],
)
def test_stores_that_cannot_be_used_are_named(bucket, place, words):
    with pytest.raises(StoreError, match=words), opened(place):
        pass


def test_what_lives_in_one_process_is_refused(tmp_path):
    path = recipe(tmp_path / "manifest", rows=["water"])
    _, err = mlst("build", path, "--out", "memory://x", status=2)
    assert "one process" in err
    with looked_at("memory://x") as work, pytest.raises(StoreError, match="one process"):
        list(Ray(2)(Odd(shout=False), ["a"], work))


def test_outcomes_are_those_of_a_folder(bucket, tmp_path):
    with opened(f"{bucket}/{tmp_path.name}") as work:
        found = {
            o.key: (o.status, o.kind)
            for o in Local(2)(Odd(shout=False), ["a", "gone", "segfault", "b"], replace(work, folder="odd"))
        }
        assert found == {
            "a": ("done", ""),
            "b": ("done", ""),
            "gone": ("rejected", "gone.private"),
            "segfault": ("failed", "crashed"),
        }
        assert work.names("odd") == ["odd/a.txt", "odd/b.txt"]


def test_a_store_that_fails_is_no_fault_of_the_item(bucket, tmp_path):
    with looked_at(f"{bucket}-is-gone/work") as work:
        (outcome,) = Local(1)(Odd(shout=False), ["a"], replace(work, folder="odd"))
    assert (outcome.status, outcome.kind) == ("failed", "network.store")


def test_build_in_a_store(bucket, plain):
    path, wanted = plain
    out, work = f"{bucket}/local/data", f"{bucket}/local/work"
    mlst("build", path, "--out", out, "--work", work, "--no-verify")
    assert listing(out) == wanted
    before = changed(out)
    assert "Nothing to do" in mlst("build", path, "--out", out, "--work", work, "--no-verify")[0]
    assert changed(out) == before
    with looked_at(work) as here:
        assert sum(line.count for line in status(here) if line.stage == "fetch") == 3
    assert files().info(f"{work}/report.html")["size"] > 10_000


def test_verify_reads_every_byte_of_a_store(bucket, tmp_path):
    base = f"{bucket}/{tmp_path.name}"
    files().put(f"{tiny.built()}/", f"{base}/", recursive=True)
    assert verify(base, 0) == verify(tiny.built(), 0)
    files().pipe_file(f"{base}/data/stray.tar", b"")
    assert {(one.rule, one.path) for one in verify(base, 0).findings} == {("stray", "data/stray.tar")}
    shard = next(name for name in files().find(base) if name.endswith("00001.tar"))
    data = bytearray(files().cat_file(shard))
    data[len(data) // 2] ^= 1
    files().pipe_file(shard, bytes(data))
    assert {"hash"} <= {one.rule for one in verify(base, 0).findings}


def test_what_another_build_left_is_removed(tmp_path):
    made, store = tiny.material(tmp_path / "work"), Store(f"memory://{tmp_path.name}")
    for shard_bytes in (10240, 1 << 20):
        tiny.build(tmp_path / "work", stored(store, tmp_path / str(shard_bytes)), made, shard_bytes=shard_bytes)
        tiny.build(tmp_path / "work", tmp_path / "folder", made, shard_bytes=shard_bytes)
        listed = {f"data/{level}" for level in ("s0t0", "s1t1", "s2t2")}
        found = {name for folder in listed for name in store.sizes(folder)}
        assert found == {
            p.relative_to(tmp_path / "folder").as_posix() for d in listed for p in (tmp_path / "folder" / d).iterdir()
        }
        assert verify(store.url, 0).findings == ()


def test_killed_drivers_resume_from_nothing_but_the_store(bucket, plain, tmp_path):
    path, wanted = plain
    out, work = f"{bucket}/killed/data", f"{bucket}/killed/work"
    with machine() as environment:
        build_and_kill(path, out, work, environment, "scan-*")
    command = [
        sys.executable,
        "-m",
        "collection",
        "build",
        path,
        "--out",
        out,
        "--work",
        work,
        "--no-verify",
        "--json",
    ]
    with machine() as environment:
        run = partial(
            subprocess.run,
            [*command, "--json"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        refused = run()
        assert refused.returncode == 2
        assert f"delete {work}/lock" in " ".join(refused.stderr.split())
        files().rm_file(f"{work}/lock")
        ended = run()
    assert ended.returncode == 0, ended.stderr
    begun = {e["stage"]: e for e in map(json.loads, ended.stderr.splitlines()) if e["event"] == "begin"}
    assert begun["scan"]["known"] >= 1
    assert listing(out) == wanted


@contextlib.contextmanager
def machine():
    """The environment of a machine whose temporary files are its own; sockets want short names."""
    with tempfile.TemporaryDirectory(prefix="m-") as folder:
        yield {**os.environ, "TMPDIR": folder}


def build_and_kill(path, out, work, environment, stage):
    """Build until the stage's ledger has an outcome, then SIGKILL to the driver."""
    command = [sys.executable, "-m", "collection", "build", path, "--out", out, "--work", work, "--no-verify"]
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    store, end = files(), time.monotonic() + 60
    while not store.glob(f"{work}/{stage}/ledger/*") and time.monotonic() < end and driver.poll() is None:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    said, _ = driver.communicate()
    assert driver.returncode == -signal.SIGKILL, said.decode()


def test_ray_in_a_store(nodes, bucket, plain):
    path, wanted = plain
    out, work = f"{bucket}/ray/data", f"{bucket}/ray/work"
    with opened(work) as here, looked_at(out) as dataset:
        build(orders.read_order(path, Access()), dataset, Driver(here, Ray(2), Quiet(), False, 256, False))
    assert listing(out) == wanted
