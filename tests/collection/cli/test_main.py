"""The `mlst` command from outside, on real clips: what it makes, what it says, what it survives."""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.workspace.folder import WorkspaceError, check_apart

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CLIPS = ROOT / "manifests" / "demo" / "clips"
HEAD = "id,url,start,end,licence,title,channel,group,provenance\n"
ROWS = {
    "water": "water,stream_of_water_3s_480x360.webm,0,,CC0-1.0,Water,MDN,water,demo\n",
    "signer": "signer,asl_signer_book_4s_640x480.mkv,0,,CC-BY-4.0,Signer,Intel,signer,demo\n",
    "rabbit": "rabbit,rabbit_orbit_8s_320x240.mp4,1,6.5,CC0-1.0,Rabbit <b>&amp;,MDN,rabbit,demo\n",
}
RECIPE = """
name = "tiny"
version = "1.0.0"
sources = "sources.csv"
[fetch]
extractors = []
local = true
[scan]
size = 64
[select]
reject = []
"""


def mlst(*words, status=0, **options):
    """Run the command; its standard output and error."""
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "collection", *map(str, words)]
    options |= {"cwd": ROOT, "env": environment, "timeout": 240}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert ran.returncode == status, f"status {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout, ran.stderr


def refused(*words):
    """What a command says of unusable input; without a process of its own, as nothing is begun."""
    ran = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})
    assert ran.exit_code == 2, f"status {ran.exit_code}\n{ran.output}\n{ran.exception!r}"
    return ran.stderr


def recipe(folder, rows=tuple(ROWS), text=RECIPE):
    """A recipe over some of the demo's clips in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = ROWS[row].split(",")[1]
        if not (folder / name).exists():
            shutil.copy(CLIPS / name, folder / name)
    (folder / "sources.csv").write_text(HEAD + "".join(ROWS[row] for row in rows))
    (folder / "recipe.toml").write_text(text)
    return folder / "recipe.toml"


def hashes(dataset):
    """sha256 of every file."""
    files = sorted(path for path in dataset.rglob("*") if path.is_file())
    return {str(path.relative_to(dataset)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built dataset: folder, recipe, and what the command printed."""
    folder = tmp_path_factory.mktemp("built")
    path = recipe(folder / "manifest")
    out, _ = mlst("build", path, "--out", folder / "data", "--json")
    return folder / "data", path, json.loads(out)


def test_build_says_what_it_made(built):
    dataset, _, summary = built
    assert summary["sources"] == {"rows": 3, "used": 3}
    assert summary["findings"] == []
    assert summary["failed"] == 0
    assert summary["clips"] == pq.read_metadata(dataset / "metadata" / "clips.parquet").num_rows > 5
    assert (dataset.with_name("data-work") / "report.html").stat().st_size > 10_000


def test_second_build_does_nothing_and_says_so(built):
    dataset, path, _ = built
    before = hashes(dataset)
    out, err = mlst("build", path, "--out", dataset)
    assert "Nothing to do" in out
    assert "0 done, 3 known before" in err
    assert hashes(dataset) == before


def test_same_bytes_elsewhere_with_shuffled_rows_other_workers_and_waves(built, tmp_path):
    path = recipe(tmp_path / "deep" / "er", rows=["rabbit", "water", "signer"])
    mlst("build", path, "--out", tmp_path / "x", "--workers", 1, "--wave", 1, "--keep-videos")
    assert hashes(tmp_path / "x") == hashes(built[0])
    assert len(list((tmp_path / "x-work").glob("fetch-*/media/*"))) == 3


def test_scanned_videos_are_removed_and_the_users_own_files_stay(built):
    dataset, path, _ = built
    assert list(dataset.with_name("data-work").glob("fetch-*/media/*")) == []
    for name in (row.split(",")[1] for row in ROWS.values()):
        assert (path.parent / name).read_bytes() == (CLIPS / name).read_bytes()


def test_other_thresholds_decode_nothing_again(built, tmp_path):
    dataset, path, _ = built
    copy = tmp_path / "data"
    shutil.copytree(dataset.with_name("data-work"), tmp_path / "data-work")
    levels = (ROOT / "mlst" / "levels" / "thresholds" / "mlst-240p-v2.toml").read_text().replace("35.7311", "30.5")
    (path.parent / "mine.toml").write_text(levels)
    other = path.with_name("other.toml")
    other.write_text(RECIPE.replace("[fetch]", 'levels = "mine.toml"\n[fetch]'))
    out, err = mlst("build", other, "--out", copy, "--json")
    begun = [event for event in map(json.loads, err.splitlines()) if event["event"] == "begin"]
    assert [(e["stage"], e["total"] - e["known"]) for e in begun][:2] == [("fetch", 0), ("scan", 0)]
    assert json.loads(out)["changed"]


def test_killed_builds_resume_to_the_same_bytes(built, tmp_path):
    path = recipe(tmp_path / "manifest")
    command = [sys.executable, "-m", "collection", "build", str(path), "--out", str(tmp_path / "data")]
    for seconds in (2.0, 3.5, 5.0):
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(seconds)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        if (tmp_path / "data-work" / "build.json").exists():
            lines = json.loads(mlst("status", tmp_path / "data-work", "--json")[0])
            count = {
                stage: sum(line["count"] for line in lines if line["stage"] == stage) for stage in ("fetch", "scan")
            }
            fetched = sum(line["count"] for line in lines if (line["stage"], line["status"]) == ("fetch", "done"))
            assert count["fetch"] in (0, 3)
            assert count["scan"] == fetched
    time.sleep(0.5)
    mlst("build", path, "--out", tmp_path / "data")
    assert hashes(tmp_path / "data") == hashes(built[0])
    assert not list((tmp_path / "data-work").rglob("*.part"))


def test_some_sources_failing_is_not_hidden(tmp_path):
    path = recipe(tmp_path, rows=["water"])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    rows = "gone,gone.mp4,0,,unknown,,,,x\nempty,empty.mp4,0,,unknown,,,,x\nlist,playlist.mp4,0,,unknown,,,,x\n"
    (tmp_path / "sources.csv").write_text(HEAD + ROWS["water"] + rows)
    out, _ = mlst("build", path, "--out", tmp_path / "data", "--json")
    assert json.loads(out)["sources"] == {"rows": 4, "used": 1}
    lines = json.loads(mlst("status", tmp_path / "data-work", "--json")[0])
    fetched = {(line["status"], line["kind"]): line["count"] for line in lines if line["stage"] == "fetch"}
    assert sum(fetched.values()) == 4
    assert fetched["done", ""] == 1
    assert fetched["rejected", "gone.missing"] == 1
    assert fetched["rejected", "corrupt"] == 1


def test_all_sources_failing_is_an_error(tmp_path):
    path = recipe(tmp_path, rows=[])
    (tmp_path / "sources.csv").write_text(HEAD + "a,a.mp4,0,,unknown,,,,x\n")
    out, err = mlst("build", path, "--out", tmp_path / "data", status=1)
    assert "gone.missing" in out
    assert "no clip could be chosen" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[scan]", "[scan]\nlenght = 30"), ["scan.lenght", "30"]),
        (("[scan]", "[scan]\nlength = 1"), ["scan.length", "1", "greater than or equal to 2"]),
        (("[scan]", '[scan]\ndetector = "magic"'), ["magic", "adaptive", "content", "mlst"]),
        (("[scan]", "[scan]\noptions = { treshold = 1 }"), ["treshold", "options and defaults are"]),
        (("[select]", "[select]\nsplits = { train = 0.5 }"), ["splits", "add up to 1"]),
        (("[fetch]", 'levels = "nope"\n[fetch]'), ["nope", "p910-240p-v1"]),
        (('"sources.csv"', '"missing.csv"'), ["missing.csv"]),
        (("name =", "name"), ["recipe.toml", "not TOML"]),
        (("local = true", "local = false"), ["sources.csv", "url", "local"]),
    ],
)
def test_bad_recipes_name_value_and_remedy(tmp_path, change, words):
    path = recipe(tmp_path, rows=["water"], text=RECIPE.replace(*change))
    err = refused("build", path, "--out", tmp_path / "data")
    assert [word for word in words if word not in err] == []
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("rows", "words"),
    [("", ["sources.csv"]), (ROWS["water"] * 2, ["sources.csv", "id", "water"])],
    ids=["empty", "duplicate"],
)
def test_bad_manifests_name_file_and_row(tmp_path, rows, words):
    path = recipe(tmp_path, rows=["water"])
    (tmp_path / "sources.csv").write_text(HEAD + rows)
    err = refused("build", path, "--out", tmp_path / "data")
    assert [word for word in words if word not in err] == []


def test_output_that_cannot_be_a_folder(tmp_path):
    path = recipe(tmp_path / "manifest", rows=["water"])
    (tmp_path / "file").write_text("not a folder")
    for place in ("file/data", "file"):
        err = refused("build", path, "--out", tmp_path / place)
        assert "file is not a folder; give another path" in err
        assert not (tmp_path / "file-work").exists()


def test_a_workspace_that_is_a_file(tmp_path):
    path = recipe(tmp_path / "manifest", rows=["water"])
    (tmp_path / "file").write_text("not a folder")
    err = refused("build", path, "--out", tmp_path / "data", "--work", tmp_path / "file")
    assert f"{tmp_path / 'file'} is not a folder; give another path" in err


@pytest.mark.parametrize("command", ["build", "rebuild"])
def test_dataset_and_workspace_in_one_place_are_refused_before_anything_is_done(tmp_path, command):
    path = recipe(tmp_path / "manifest", rows=["water"])
    place, out = {"build": path, "rebuild": path.parent}[command], tmp_path / "data"
    err = refused(command, place, "--out", out, "--work", out / "work")
    assert "inside each other; give --work a place beside it" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("dataset", "work"),
    [
        ("data", "data"),
        ("data", "./data/../data/"),
        ("data", "data/work"),
        ("work/data", "work"),
        (".", ".-work"),
        ("data", "link/x"),
        ("s3://bucket/data", "s3://bucket/data/"),
        ("s3://bucket/data", "s3://bucket/data/work"),
    ],
)
def test_places_that_are_not_apart(tmp_path, monkeypatch, dataset, work):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(WorkspaceError) as refused:
        check_apart(dataset, work)
    assert f"{dataset} and its workspace {work}" in str(refused.value)


@pytest.mark.parametrize(
    ("dataset", "work"),
    [
        ("data", "data-work"),
        ("data/a", "data/b"),
        ("data", "../data"),
        ("s3://bucket/data", "s3://bucket/data-work"),
        ("s3://bucket/data", "data"),
    ],
)
def test_places_that_are_apart(tmp_path, monkeypatch, dataset, work):
    monkeypatch.chdir(tmp_path)
    check_apart(dataset, work)


def test_full_disk_leaves_no_partial_file_and_a_whole_ledger(built, tmp_path):
    path = recipe(tmp_path / "manifest", rows=["water"])

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    _, err = mlst("build", path, "--out", tmp_path / "data", status=3, preexec_fn=little_room)
    assert "1 of 1 shards could not be written (1 file_size)" in err
    assert not (tmp_path / "data").exists()
    work = tmp_path / "data-work"
    assert not list(work.rglob("*.part"))
    lines = json.loads(mlst("status", work, "--json")[0])
    assert {(line["status"], line["kind"]) for line in lines} >= {("failed", "file_size")}
    mlst("build", path, "--out", tmp_path / "data")


def test_one_build_per_workspace(built):
    dataset, path, _ = built
    import fcntl

    with (dataset.with_name("data-work") / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        err = refused("build", path, "--out", dataset)
    assert "in use by another build" in err


def test_verify_finds_a_flipped_byte(built, tmp_path):
    copy = shutil.copytree(built[0], tmp_path / "data")
    shard = sorted((copy / "data").rglob("*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[3000] ^= 1
    shard.write_bytes(content)
    out, _ = mlst("verify", copy, "--json", status=1)
    assert "hash" in {finding["rule"] for finding in json.loads(out)["findings"]}
    mlst("verify", built[0])


def test_verify_of_no_folder_is_an_input_error(tmp_path):
    err = refused("verify", tmp_path / "nothing")
    assert "is not a folder" in err
    out, _ = mlst("verify", tmp_path, "--json", status=1)
    assert [finding["rule"] for finding in json.loads(out)["findings"]] == ["dataset"]


def test_report_writes_a_page(built, tmp_path):
    out, _ = mlst("report", built[0], "--out", tmp_path / "page.html", "--previews", "1")
    assert str(tmp_path / "page.html") in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:video/mp4;base64,") == len({path.parent for path in built[0].glob("data/*/*.tar")})
    err = refused("report", tmp_path, "--out", tmp_path / "none.html")
    assert "give the folder of a dataset that `mlst verify` finds sound" in err
    assert not (tmp_path / "none.html").exists()


def test_inspect_writes_a_contact_sheet(built, tmp_path):
    key = pq.read_table(built[0] / "metadata" / "clips.parquet", columns=["key"])["key"][0].as_py()
    sheet = tmp_path / "sheet.png"
    out, _ = mlst("inspect", key, "--dataset", built[0], "--sheet", sheet, "--json")
    whole = json.loads(out)["fingerprint"]
    assert json.loads(out)["info"]["key"] == key
    assert sheet.read_bytes().startswith(b"\x89PNG")
    out, _ = mlst("inspect", key, "--dataset", built[0], "--sheet", sheet)
    assert f"{whole[:16]}... ({len(whole)} hex digits" in out
    assert len(out.splitlines()) < 100
    err = refused("inspect", "nothing_1", "--dataset", built[0])
    assert "nothing_1" in err


def test_a_dataset_is_studied_under_its_own_thresholds(built, tmp_path):
    page = tmp_path / "study.html"
    mlst("study", built[0], "--out", page, "--clips", 4, "--renditions", 0)
    found = json.loads(page.with_suffix(".json").read_text())
    assert (found["clips"], found["priced"], found["thresholds"]) == (built[2]["clips"], 4, "mlst-240p-v2")
    assert found["deciders"] == ["dct_energy", "ti10"]


def test_plan_takes_a_folder_as_build_does_and_writes_nothing(tmp_path):
    shutil.copy(CLIPS / ROWS["rabbit"].split(",")[1], tmp_path / "a.mp4")
    ran = CliRunner().invoke(app, ["plan", str(tmp_path), "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["local"] == 1
    assert 7 < json.loads(ran.stdout)["seconds_of_video"] < 9
    said = CliRunner().invoke(app, ["plan", str(tmp_path)]).stdout
    assert "1: 1 on this machine" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_plan_asks_nobody(built):
    plan = json.loads(mlst("plan", built[1], "--json")[0])
    assert plan["sources"] == 3
    assert plan["requests"] == 0


def test_the_folder_of_a_recipe_is_no_place_for_its_dataset(tmp_path):
    path = recipe(tmp_path / "mine", rows=["water"])
    err = refused("build", path, "--out", path.parent)
    assert "has a recipe.toml, but no dataset.json" in err
    assert path.read_text() == RECIPE


def test_calibrate_refuses_a_small_corpus(built, tmp_path):
    work = built[0].with_name("data-work")
    err = refused("calibrate", built[1], "--work", work, "--out", tmp_path / "levels.toml")
    assert "at least 300 shots" in err
    assert not (tmp_path / "levels.toml").exists()


def test_report_escapes_titles(built):
    page = (built[0].with_name("data-work") / "report.html").read_text()
    assert "<b>&amp;" not in page
    assert "Content-Security-Policy" in page


def test_version_is_that_of_all_that_may_change_a_dataset(built):
    tools = json.loads((built[0] / "dataset.json").read_text())["tools"]
    assert mlst("--version")[0].splitlines() == [f"{tool['name']} {tool['version']}" for tool in tools]
