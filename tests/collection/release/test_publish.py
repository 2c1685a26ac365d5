"""Publishing to a Hub on loopback, by the unmodified clients: Xet in processes of their own, LFS in this one."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import LocalEntryNotFoundError
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.fetch.ytdlp import Access
from collection.order import read_order
from collection.release.prepare import (
    LicenceError,
    Prepared,
    ReleaseError,
    SignedError,
    UnsoundError,
    prepare,
    refusals,
)
from collection.release.publish import PublishError, Target, TargetError, check, plan, publish
from collection.report.html import report_on
from collection.report.scores import ScoresError, read_measured
from collection.upkeep.takedown import takedown
from collection.viewing.page import VIEWER
from collection.viewing.table import TABLE
from mlst.checking.verify import verify
from mlst.dataset.croissant import CROISSANT
from mlst.dataset.description import CARD, DATASET, INDEX, LOCK, RECIPE, read_json
from mlst.dataset.index import read_index
from mlst.dataset.lock import read_lock
from mlst.dataset.shards import open_shard
from mlst.records import decode
from tests import tiny
from tests.hub_server import TOKEN, Hub

pytestmark = pytest.mark.slow

HERE = Target("someone/tiny", "main", "", False, "")
ROOT = Path(__file__).parents[3]

COMMAND = """
import sys
from huggingface_hub import _upload_pipeline
from collection.cli.main import main

if __name__ == "__main__":
    _upload_pipeline.COMMIT_SIZE_SCALE = [8] * 10  # so that a small dataset takes several commits
    main()
"""

LOAD = """
import hashlib, json, sys
from datasets import Video, load_dataset
from huggingface_hub import snapshot_download

name, where = sys.argv[1:]
snapshot_download(name, repo_type="dataset", revision="v1.0.0", local_dir=where)
found = {}
for streaming in (True, False):
    for config in ("default", "s1t2"):
        clips = load_dataset(name, config, split="train", revision="v1.0.0", streaming=streaming)
        rows = [[c["__key__"], hashlib.sha256(c["mp4"]["bytes"]).hexdigest(), c["json"]]
                for c in clips.cast_column("mp4", Video(decode=False))]
        found[f"{config} {streaming}"] = rows
print(json.dumps(found))
"""

LOAD_FRAMES = """
import hashlib, json, sys
import mlst

for name, more in ((sys.argv[1], {"revision": "v1.0.0"}), (sys.argv[2], {})):
    clips = mlst.load(name, split="train", past=2, horizon=4, **more)
    samples = [clips[i] for i in range(len(clips))]
    print(json.dumps([[s.key, s.level, hashlib.sha256(s.frames.numpy().tobytes()).hexdigest()] for s in samples]))
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny dataset, released with its pixels."""
    return prepare(tiny.built(), tmp_path_factory.mktemp("clips") / "release", "clips", [], 0)


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny dataset, released without."""
    return prepare(tiny.built(), tmp_path_factory.mktemp("ids") / "release", "ids", [], 0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the client in this process talks to, by LFS."""
    server = Hub(tmp_path / "hub")
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file, besides what a client keeps for itself."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {path: value for path, value in found.items() if not path.startswith(".")}


def on_the_hub(hub: Hub, revision: str = "main") -> dict[str, str]:
    """sha256 of every file of the repository."""
    files = hub.files(HERE.repository, revision).items()
    return {path: hashlib.sha256(hub.content(entry)).hexdigest() for path, entry in files}


# -- The whole command, in a process of its own, killed and run again


together = pytest.mark.xdist_group("publish")
"""In one worker under `--dist loadgroup`, so that the story happens once."""


@dataclass(frozen=True)
class Story:
    """What happened in three runs of `mlst publish`."""

    hub: Hub
    dataset: Path
    environment: dict[str, str]
    after_kill: dict[str, Any]
    titles_after_kill: list[str]
    second: dict[str, Any]
    third: dict[str, Any]
    third_log: list[str]
    third_bytes: int
    output: str


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    hub = Hub(folder / "hub")
    dataset = Path(shutil.copytree(tiny.built(), folder / "dataset"))
    script = folder / "command.py"
    script.write_text(COMMAND)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(script), "publish", str(dataset), HERE.repository]
    command += ["--mode", "clips", "--tag", "v1.0.0", "--workers", "1", "--json"]
    hub.fail("POST .*/commit/", "pass", 2)
    hold = hub.fail("POST .*/commit/", "hold")
    with subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE) as first:
        if not hold.held.wait(120):
            first.kill()
            raise AssertionError(f"there was no third commit: {first.stderr and first.stderr.read().decode()}")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(30)
    after_kill, titles = dict(hub.files(HERE.repository)), hub.titles(HERE.repository)
    hold.kind = "cut"  # the request of the dead client must not be served after all
    hold.release.set()
    faults = [hub.fail("POST .*/preupload/", "429"), hub.fail("POST .*/commit/", "lose")]
    options: Any = {"env": environment, "capture_output": True, "text": True, "timeout": 120}
    second = subprocess.run(command, check=False, **options)
    assert second.returncode == 0, second.stderr
    assert [fault.times for fault in faults] == [0, 0]
    lines, received = len(hub.log), hub.received
    third = subprocess.run([*command, "--read-back", "hashes"], check=False, **options)
    assert third.returncode == 0, third.stderr
    yield Story(
        hub=hub,
        dataset=dataset,
        environment=environment,
        after_kill=after_kill,
        titles_after_kill=titles,
        second=json.loads(second.stdout),
        third=json.loads(third.stdout),
        third_log=hub.log[lines:],
        third_bytes=hub.received - received,
        output=second.stdout + second.stderr + third.stdout + third.stderr,
    )
    hub.close()


@together
def test_killed_half_way_there_is_no_release_yet(story: Story) -> None:
    assert len(story.titles_after_kill) == 3
    assert 0 < len(story.after_kill) < len(digests(story.dataset))
    assert not {CARD, CROISSANT, DATASET} & set(story.after_kill)


@together
def test_run_again_it_sends_the_rest(story: Story) -> None:
    release = digests(story.dataset.with_name("dataset-release"))
    assert story.second["sent"] == len(release) - len(story.after_kill)
    assert story.second["hashes"] == story.second["downloads"] == len(release)
    assert on_the_hub(story.hub) == on_the_hub(story.hub, "v1.0.0") == release
    assert story.hub.titles(HERE.repository)[0] == "tiny 1.0.0 (clips)"
    assert story.hub.repositories[HERE.repository].tags == {"v1.0.0": story.second["commit"]}


@together
def test_the_third_run_sends_nothing(story: Story) -> None:
    assert story.third_bytes == 0
    assert not [line for line in story.third_log if line.startswith(("POST", "PUT", "DELETE"))]
    assert story.third["sent"] == story.third["bytes"] == 0
    assert story.third["commit"] == story.second["commit"]


@together
def test_it_went_through_xet(story: Story) -> None:
    large = [entry for entry in story.hub.files(HERE.repository).values() if entry.sha256]
    assert len(large) > 30
    assert all(entry.xet for entry in large)


@together
def test_the_token_is_never_printed(story: Story) -> None:
    assert story.output
    assert TOKEN not in story.output


@together
def test_downloads_and_load_dataset_give_the_same_bytes(story: Story, tmp_path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, HERE.repository, str(tmp_path / "download")],
        env=story.environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    release = story.dataset.with_name("dataset-release")
    assert digests(tmp_path / "download") == digests(release)
    assert verify(tmp_path / "download", 0).findings == ()
    shards = {path: sha for path, sha in digests(story.dataset).items() if path.startswith("data/")}
    assert shards.items() <= digests(tmp_path / "download").items()
    for name, found in json.loads(loaded.stdout.splitlines()[-1]).items():
        wanted = [
            [sample.key, hashlib.sha256(sample.mp4).hexdigest(), json.loads(sample.json)]
            for path in sorted({row.shard for row in read_index(story.dataset / INDEX) if row.info.split == "train"})
            if name.startswith("default") or "/s1t2/" in path
            for sample, _ in open_shard(story.dataset / path)
        ]
        assert found == wanted, name


@together
def test_the_loader_gives_the_frames_of_the_local_folder(story: Story) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_FRAMES, HERE.repository, str(story.dataset)],
        env=story.environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    hub, local = (json.loads(line) for line in loaded.stdout.splitlines()[-2:])
    assert hub == local
    assert len(hub) == sum(row.info.split == "train" for row in read_index(story.dataset / INDEX))


# -- Faults


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("POST .*/preupload/", "503"),
        ("POST .*/commit/", "429"),
        ("POST .*/objects/batch", "cut"),
        ("PUT /lfs/", "cut"),
        ("POST .*/commit/", "lose"),
    ],
)
def test_faults_are_overcome(hub: Hub, api: HfApi, clips: Prepared, pattern: str, kind: str) -> None:
    fault = hub.fail(pattern, kind)
    done = publish(clips, HERE, api, "hashes")
    assert fault.times == 0
    assert on_the_hub(hub) == digests(clips.folder)
    assert done.commit == hub.commit(hub.repositories[HERE.repository], "main").oid
    assert hub.titles(HERE.repository) == ["tiny 1.0.0 (clips)", "tiny 1.0.0 (clips): files", "initial commit"]


def test_someone_else_writes_meanwhile(hub: Hub, clips: Prepared) -> None:
    class Meddled(HfApi):
        def upload_folder(self, **given: Any) -> Any:
            other = HfApi(endpoint=hub.url, token=TOKEN)
            for number in range(3):
                other.upload_file(
                    path_or_fileobj=b"x" * (number + 1), path_in_repo="x", repo_id=HERE.repository, repo_type="dataset"
                )
            return super().upload_folder(**given)

    with pytest.raises(PublishError, match="changed by someone else"):
        publish(clips, HERE, Meddled(endpoint=hub.url, token=TOKEN), "hashes")
    assert DATASET not in hub.files(HERE.repository)


def test_a_server_that_stays_down_is_said_to_be(hub: Hub, api: HfApi, clips: Prepared) -> None:
    hub.fail("GET /api/datasets/", "cut", 100)
    with pytest.raises(PublishError, match="cannot be reached"):
        publish(clips, HERE, api, "hashes")


def test_a_server_that_goes_away_while_it_is_read_back(hub: Hub, clips: Prepared) -> None:
    class Cut(HfApi):
        def hf_hub_download(self, *given: Any, **more: Any) -> Any:
            raise LocalEntryNotFoundError("what the client raises after its own retries, 24 s later")

    with pytest.raises(PublishError, match="cannot be reached"):
        publish(clips, replace(HERE, tag="v1"), Cut(endpoint=hub.url, token=TOKEN))
    assert hub.repositories[HERE.repository].tags == {}


def test_a_wrong_token(hub: Hub, clips: Prepared) -> None:
    with pytest.raises(PublishError, match=r"401.*hf auth login") as caught:
        publish(clips, HERE, HfApi(endpoint=hub.url, token="hf_other"), "hashes")  # noqa: S106
    assert "hf_other" not in str(caught.value)


def test_nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(TargetError, match="no token"):
        check(HERE)


@pytest.mark.parametrize(
    "target",
    [
        replace(HERE, repository="tiny"),
        replace(HERE, repository="a/../b"),
        replace(HERE, tag="v 1"),
        replace(HERE, revision="refs/x"),
    ],
)
def test_names_the_hub_would_refuse(hub: Hub, target: Target) -> None:
    check(HERE)
    with pytest.raises(TargetError, match="is no"):
        check(target)


def test_content_that_the_hub_lost_is_noticed(hub: Hub, api: HfApi, clips: Prepared) -> None:
    publish(clips, HERE, api, "hashes")
    shard = clips.dataset.shards[0]
    (hub.lfs / shard.sha256).write_bytes(bytes(shard.size))
    publish(clips, HERE, api, "hashes")
    with pytest.raises(PublishError, match=re.escape(shard.path)):
        publish(clips, replace(HERE, tag="v1"), api, "full")
    assert hub.repositories[HERE.repository].tags == {}


# -- What a repository looks like afterwards


def test_large_files_in_parts(hub: Hub, api: HfApi, clips: Prepared) -> None:
    hub.multipart = 5000
    publish(clips, HERE, api, "hashes")
    assert len(hub.requests("PUT /lfs/.*/2$")) > 10
    assert on_the_hub(hub) == digests(clips.folder)


def test_private_gated_branch(hub: Hub, api: HfApi, ids: Prepared) -> None:
    target = replace(HERE, private=True, gated="manual", revision="next")
    publish(ids, target, api)
    repository = hub.repositories[HERE.repository]
    assert (repository.private, repository.gated) == (True, "manual")
    assert hub.files(HERE.repository) == {}
    assert on_the_hub(hub, "next") == digests(ids.folder)


def test_a_public_repository_is_not_made_private(hub: Hub, api: HfApi, ids: Prepared) -> None:
    publish(ids, HERE, api)
    with pytest.raises(PublishError, match="is public"):
        publish(ids, replace(HERE, private=True), api)
    assert not hub.repositories[HERE.repository].private


def test_tags_never_move(hub: Hub, api: HfApi, clips: Prepared, ids: Prepared) -> None:
    first = publish(ids, replace(HERE, tag="v1"), api)
    assert publish(ids, replace(HERE, tag="v1"), api).commit == first.commit
    before = hub.titles(HERE.repository)
    with pytest.raises(PublishError, match="tags never move"):
        publish(clips, replace(HERE, tag="v1"), api, "hashes")
    assert hub.titles(HERE.repository) == before
    assert publish(clips, replace(HERE, tag="v2"), api, "hashes").commit != first.commit


def test_what_an_earlier_release_left_goes_and_the_rest_stays(
    hub: Hub, api: HfApi, clips: Prepared, ids: Prepared
) -> None:
    publish(clips, HERE, api, "hashes")
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="NOTES", repo_id=HERE.repository, repo_type="dataset")
    todo = plan(ids, HERE, api)
    assert set(todo.remove) == {s.path for s in clips.dataset.shards} | {"assets/levels.png", TABLE, VIEWER}
    done = publish(ids, HERE, api)
    assert done.removed == len(todo.remove)
    assert set(on_the_hub(hub)) == {*digests(ids.folder), "NOTES"}
    assert plan(clips, HERE, api).remove == ("sources.csv",)
    publish(clips, HERE, api, "hashes")
    assert set(on_the_hub(hub)) == {*digests(clips.folder), "NOTES"}


# -- Releases


def test_clips_release_is_a_sound_dataset(clips: Prepared) -> None:
    assert verify(clips.folder, 0).findings == ()
    built = read_json(tiny.built() / DATASET)
    assert clips.dataset == replace(built, files=clips.dataset.files)
    assert set(digests(clips.folder)) == {file.path for file in clips.files}
    assert {f.path for f in clips.files} - {f.path for f in built.files} == {
        DATASET, "assets/levels.png", "assets/scatter.png", TABLE, VIEWER,
    }  # fmt: skip
    assert all(digests(clips.folder)[file.path] == file.sha256 for file in clips.files)


def test_the_checksum_snippet_of_the_card(clips: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(clips.folder, tmp_path / "copy"))
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", Path(CARD).read_text(), re.DOTALL) if "hashlib" in c]
    exec(compile(code, CARD, "exec"), {})  # noqa: S102 - that the card's code runs is what is tested
    Path(RECIPE).write_text("name = 'other'")
    with pytest.raises(AssertionError, match=RECIPE):
        exec(compile(code, CARD, "exec"), {})  # noqa: S102


def test_ids_release_has_no_pixels_and_all_that_rebuilds(ids: Prepared) -> None:
    suffixes = {Path(path).suffix for path in digests(ids.folder)}
    assert suffixes == {".md", ".toml", ".parquet", ".jsonl", ".json", ".csv", ".png"}
    assert "assets/levels.png" not in digests(ids.folder)
    assert (ids.folder / DATASET).read_bytes() == (tiny.built() / DATASET).read_bytes()
    order = read_order(ids.folder / RECIPE, Access())
    assert order.sources == tuple(row.source for row in read_lock(tiny.built() / LOCK))


def test_the_index_snippet_of_an_ids_card(
    ids: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(ids.folder)
    (code,) = re.findall(r"```python\n(.*?)```", Path(CARD).read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, CARD, "exec"), names)  # noqa: S102
    assert names["clips"]["key"][:] == [row.info.key for row in read_index(Path(INDEX))]
    assert "'video" in capsys.readouterr().out


def test_the_same_again_gives_the_same_and_the_other_mode_tidies_up(tmp_path: Path, ids: Prepared) -> None:
    out = tmp_path / "release"
    prepare(tiny.built(), out, "clips", [], 0)
    again = prepare(tiny.built(), out, "ids", [], 0)
    assert again.files == ids.files
    assert digests(out) == digests(ids.folder)
    assert not (out / "data").exists()


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ReleaseError, match="is not a release"):
        prepare(tiny.built(), tmp_path, "ids", [], 0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unsound_dataset_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))
    (folder / "notes.json").write_text("{}")
    with pytest.raises(UnsoundError, match=r"stray; notes\.json"):
        prepare(folder, tmp_path / "release", "ids", [], 0)


@pytest.mark.parametrize("name", ["../list.csv", "/etc/list.csv", "README.md"])
def test_a_source_list_that_cannot_lie_in_a_release(tmp_path: Path, name: str) -> None:
    recipe = tiny.RECIPE.replace('"sources.csv"', f'"{name}"')
    tiny.build(tmp_path / "work", tmp_path / "dataset", tiny.material(tmp_path / "work", 4), recipe)
    with pytest.raises(ReleaseError, match="sources = "):
        prepare(tmp_path / "dataset", tmp_path / "release", "ids", [], 0)


def test_dots_before_the_name_of_the_source_list_are_left_off(tmp_path: Path) -> None:
    """Also the second time, when the list of the first is there."""
    recipe = tiny.RECIPE.replace('"sources.csv"', '"./sources.csv"')
    tiny.build(tmp_path / "work", tmp_path / "dataset", tiny.material(tmp_path / "work", 4), recipe)
    for _ in range(2):
        made = prepare(tmp_path / "dataset", tmp_path / "release", "ids", [], 0)
        assert "sources.csv" in {file.path for file in made.files}
        order = read_order(tmp_path / "release" / RECIPE, Access())
        assert [source.id for source in order.sources] == [row.source.id for row in read_lock(made.folder / LOCK)]


# -- Licences

ALLOWED = ("CC0-1.0", "CC-BY-3.0", "cc-by-4.0", "CC-BY-SA-3.0-DE", "public-domain", "CC-PDM-1.0", "MIT")
FORBIDDEN = (
    "",
    "unknown",
    "CC-BY-ND-4.0",
    "CC-BY-NC-ND-4.0",
    "proprietary",
    "Standard YouTube License",
    "CC-BY-NC-4.0",
    "CC-BY-4.0-NC",
    "CC-BY-SA-4.0-nd",
)
REUSE = "Creative Commons Attribution license (reuse allowed)"


@pytest.mark.parametrize(
    ("listed", "site", "whole", "allowed"),
    [
        *((licence, "", "CC-BY-4.0", True) for licence in ALLOWED),
        *((licence, "", "CC-BY-4.0", False) for licence in FORBIDDEN),
        ("CC-BY-3.0", REUSE, "other", True),
        ("CC-BY-3.0", "All rights reserved", "other", False),
        ("CC-BY-NC-4.0", "", "CC-BY-NC-SA-4.0", True),
        ("CC-BY-NC-ND-4.0", "", "CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0-ND", "", "CC-BY-NC-4.0", False),
        ("CC-BY-4.0 or so", "", "other", False),
    ],
)
def test_licences(listed: str, site: str, whole: str, allowed: bool) -> None:
    row = next(row for row in read_lock(tiny.built() / LOCK) if row.chosen)
    row = replace(row, source=replace(row.source, licence=listed), upstream=replace(row.upstream, licence=site))
    assert (refusals([row], whole) == []) == allowed
    assert refusals([replace(row, chosen=0)], whole) == []


def test_clips_that_may_not_be_passed_on_are_listed(tmp_path: Path) -> None:
    made = tiny.material(tmp_path / "work", 6)
    for name in list(made.sources)[:2]:
        made.sources[name] = replace(made.sources[name], licence="unknown")
    tiny.build(tmp_path / "work", tmp_path / "dataset", made)
    with pytest.raises(LicenceError) as caught:
        prepare(tmp_path / "dataset", tmp_path / "release", "clips", [], 0)
    assert [one.source for one in caught.value.refused] == sorted(list(made.sources)[:2])
    for one in caught.value.refused:
        assert f"{one.source}: {one.clips} clips, 'unknown' (the source list)" in str(caught.value)
    assert not (tmp_path / "release").exists()
    prepare(tmp_path / "dataset", tmp_path / "release", "ids", [], 0)


def test_presigned_addresses_reach_no_output_and_are_not_published(tmp_path: Path) -> None:
    made = tiny.material(tmp_path / "work", 6)
    names = list(made.sources)[:2]
    for name in names:
        url = f"https://store.example/{name}.mp4?X-Amz-Credential=AKIA&X-Amz-Signature=5ec2e7"
        made.sources[name] = replace(made.sources[name], url=url)
    out = tmp_path / "dataset"
    tiny.build(tmp_path / "work", out, made)
    assert verify(out, 0).findings == ()
    page = tmp_path / "report.html"
    report_on(out, page, 1, tmp_path / "none")
    written = [page, *(path for path in out.rglob("*") if path.is_file())]
    assert [path for path in written if b"5ec2e7" in path.read_bytes() or b"AKIA" in path.read_bytes()] == []
    shown = f"https://store.example/{names[0]}.mp4?X-Amz-Credential=REDACTED&X-Amz-Signature=REDACTED"
    assert shown in {row.info.url for row in read_index(out / INDEX)}
    with pytest.raises(SignedError, match="lasting addresses") as caught:
        prepare(out, tmp_path / "release", "clips", [], 0)
    assert caught.value.sources == tuple(sorted(names))
    assert f"{names[0]}: {shown}" in str(caught.value)
    assert takedown(out, [made.sources[names[0]].url]).sources == (names[0],)


# -- Results of models in the card


def results(path: Path) -> Path:
    groups = [
        {"level": "all", "clips": 9, "scores": [{"metric": "psnr_frame", "mean": 21.5, "low": 21.0, "high": 22.0}]},
        {"level": "s0t0", "clips": 2, "scores": [{"metric": "psnr_frame", "mean": 30.25, "low": 1.0, "high": 2.0}]},
    ]
    evaluation = {"format": "astm-evaluation/1", "label": "copy | last", "split": "test", "protocol": "10 -> 20"}
    path.write_text(json.dumps([{**evaluation, "groups": groups}]))
    return path


def test_results_become_a_table(tmp_path: Path) -> None:
    release = prepare(tiny.built(), tmp_path / "release", "clips", [results(tmp_path / "r.json")], 0)
    text = (release.folder / CARD).read_text(encoding="utf-8")
    assert "## Baselines" in text
    assert "| model | all \\(9\\) | s0t0 \\(2\\) |\n|---|---|---|\n| copy \\| last | 21\\.5 | 30\\.25 |\n" in text
    assert verify(release.folder, 0).findings == ()


def test_results_on_another_dataset_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    file = results(tmp_path / "r.json")
    (made,) = json.loads(file.read_text())
    size = {"past": 2, "horizon": 2, "size": 32, "channels": 3}
    file.write_text(json.dumps([{**made, **size, "dataset": "mlst", "fingerprint": "0" * 64}]))
    with pytest.raises(
        ScoresError, match=r"fingerprint 0{16}, of another dataset; those of this one have [0-9a-f]{16}"
    ):
        prepare(tiny.built(), tmp_path / "release", "clips", [file], 0)
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize("text", ["", "{}", "[{}]", '[{"label": "x", "split": "test", "protocol": "p", "groups": 1}]'])
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ScoresError, match=r"r\.json is not a result"):
        list(read_measured(tmp_path / "r.json"))


def test_real_results_are_understood(tmp_path: Path) -> None:
    """A file in the format that `astm` declares, not one made up here."""
    from astm.results import FORMAT, Evaluation, write_results

    made: dict[str, Any] = json.loads(results(tmp_path / "r.json").read_text())[0]
    for group in made["groups"]:
        group["scores"] = [{**score, "per_frame": []} for score in group["scores"]]
    kinds, some = Evaluation.__annotations__, {str: "", int: 1, float: 1.0}
    rest = {name: some.get(kind) for name, kind in kinds.items() if name not in made}
    cost = {name: some[kind] for name, kind in kinds["cost"].__annotations__.items()}
    evaluation = decode(Evaluation, {**rest, **made, "format": FORMAT, "cost": cost})
    write_results(tmp_path / "r.json", [evaluation])
    (measured,) = read_measured(tmp_path / "r.json")
    assert measured.groups == (("all", 9, 21.5), ("s0t0", 2, 30.25))


# -- The command


def test_dry_run_sends_nothing(hub: Hub, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.built(), tmp_path / "dataset")
    arguments = [str(folder), HERE.repository, "--mode", "clips", "--dry-run", "--json", "--workers", "1"]
    seen = CliRunner().invoke(app, ["publish", *arguments])
    assert seen.exit_code == 0, seen.output
    said = json.loads(seen.stdout)
    assert sorted(said["send"]) == sorted(digests(tmp_path / "dataset-release"))
    assert hub.repositories == {}
    assert not hub.requests("POST|PUT")


def test_exit_status_of_refusals(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(tiny.built(), tmp_path / "dataset"))
    run = CliRunner().invoke
    assert run(app, ["publish", str(folder), "no-slash"]).exit_code == 2
    assert run(app, ["publish", str(folder), HERE.repository, "--gated", "perhaps"]).exit_code == 2
    (folder / "stray").touch()
    seen = run(app, ["publish", str(folder), HERE.repository])
    assert seen.exit_code == 1
    assert "stray" in seen.output
    assert hub.repositories == {}
