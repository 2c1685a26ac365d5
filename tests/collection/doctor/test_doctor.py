"""Every kind of defect is found by its rule, and nothing is found in what is sound."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collection.audit.places import PlaceError
from collection.doctor import watch
from collection.doctor.distant import here
from collection.doctor.examine import Diagnosis, examine
from collection.doctor.page import summary, write_page
from collection.doctor.rules import ERROR, RULES, SEVERITIES
from collection.doctor.survey import survey
from collection.engine.stage import FAILED, Outcome, Stage, ended
from collection.executors.local import Local
from collection.workspace.folder import Workspace
from tests import tiny
from tests.collection.doctor import defects


class Quiet:
    """Shows nothing."""

    def begin(self, stage: str, items: int, known: int) -> None: ...

    def outcome(self, stage: str, outcome: Outcome[Any]) -> None: ...

    def end(self, stage: str) -> None: ...


class Counting(Quiet):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.told: Counter[str] = Counter()

    def begin(self, stage: str, items: int, known: int) -> None:
        self.total = items

    def outcome(self, stage: str, outcome: Outcome[Any]) -> None:
        self.told[outcome.status] += 1


def at_once(stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome[Any]]:
    """An executor without workers."""
    for item in items:
        yield ended(stage.key(item), stage.needs, lambda item=item: stage(item, work))  # type: ignore[misc]


def diagnosis(place: Path | str, room: Path, clips: int = 1000) -> Diagnosis:
    room.mkdir(exist_ok=True)
    return examine(str(place), clips, 0, at_once, Quiet(), Workspace(room, "doctor"))  # type: ignore[arg-type]


def by_place(found: Diagnosis) -> dict[str, set[str]]:
    rules: dict[str, set[str]] = defaultdict(set)
    for one in found.findings:
        rules[one.where].add(one.rule)
    return rules


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos and a table; a file for each rule on single clips, and rows that lie."""
    made = tmp_path_factory.mktemp("doctor") / "videos"
    made.mkdir()
    for rule, write in defects.CLIPS.items():
        write(made / f"{rule}.mp4")
    rows = [{"file_name": f"{rule}.mp4", "license": "CC0-1.0", "split": "train"} for rule in defects.CLIPS]
    for rule, lie in (
        ("frames", {"num_frames": 80}),
        ("duration", {"duration": 9.5}),
        ("rate", {"fps": "30000/1001"}),
    ):
        defects.synthetic.write(made / f"{rule}.mp4", defects.SPEC, defects.look(ord(rule[0])))
        rows.append({"file_name": f"{rule}.mp4", "license": "CC0-1.0", "split": "train", **lie})
    defects.synthetic.write(made / "size.mp4", defects.SPEC, defects.look(51))
    rows.append({"file_name": "size.mp4", "license": "CC0-1.0", "split": "train", "width": 320, "height": 240})
    shutil.copy(made / "clean.mp4", made / "leak.mp4")
    rows.append({"file_name": "leak.mp4", "license": "CC0-1.0", "split": "test"})
    shutil.copy(made / "size.mp4", made / "double.mp4")
    rows.append({"file_name": "double.mp4", "license": "CC0-1.0", "split": "train"})
    shutil.copy(made / "rate.mp4", made / "unlisted.mp4")
    rows += [{"file_name": "missing.mp4", "license": "CC0-1.0", "split": "train"}, rows[0]]
    defects.table(made, rows)
    return made


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return diagnosis(folder, tmp_path_factory.mktemp("room"))


@pytest.mark.slow
def test_each_clip_has_its_defect_and_no_other(found: Diagnosis) -> None:
    rules = by_place(found)
    allowed = {
        "clean": {"key", "leak"},  # two rows, and a copy in another split
        "size": {"size", "double"},
        "rate": {"rate", "double", "leak"},
        "unlisted": {"unlisted", "double", "leak"},
        "audio": {"audio"},
        "missing": {"table"},
    }
    for rule in (*defects.CLIPS, "frames", "duration", "rate", "size", "unlisted", "missing"):
        expected = allowed.get(rule, {rule})
        seen = rules.get(f"{rule}.mp4", set())
        assert seen <= expected, f"{rule}: {seen}"
        assert (seen & expected) or rule == "clean", f"{rule}: nothing was found"
    assert any(
        one.rule == "leak" and {"clean.mp4", "leak.mp4"} <= {one.where, one.detail.split()[-1]}
        for one in found.findings
    )
    assert any(one.rule == "double" and "size.mp4" in (one.where, one.detail[3:]) for one in found.findings)
    assert found.worst() == ERROR


@pytest.mark.parametrize("name", defects.SHARDS)
def test_shards(tmp_path: Path, name: str) -> None:
    rule, second = defects.SHARDS[name]
    found = survey(here(defects.shards(tmp_path / "set", second)))
    assert {one.rule for one in found.findings} - {"uneven"} == {rule} - {"", "uneven"}
    if rule == "uneven":
        assert {one.where for one in found.findings} == {"train-001.tar"}
    assert found.kind == "WebDataset"


def test_names_and_licences(tmp_path: Path) -> None:
    place = defects.shards(tmp_path / "set", defects.plain(1))
    for name in ("Notes.txt", "notes.txt", "what?.txt"):
        (place / name).write_text("x")
    assert {(one.rule, one.where) for one in survey(here(place)).findings} == {
        ("case", "Notes.txt"),
        ("case", "notes.txt"),
        ("name", "what?.txt"),
    }
    (place / "LICENSE").unlink()
    assert "licence" not in {one.rule for one in survey(here(place)).findings}, "every record states one"


def test_a_folder_without_a_licence(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert [one.rule for one in survey(here(tmp_path)).findings] == ["licence"]
    (tmp_path / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    assert survey(here(tmp_path)).findings == ()


@pytest.mark.slow
def test_lerobot(tmp_path: Path) -> None:
    right = diagnosis(defects.lerobot(tmp_path / "right", (25, 15), 40), tmp_path / "room")
    assert (right.kind, right.clips, right.findings) == ("LeRobot", 1, ())
    wrong = diagnosis(defects.lerobot(tmp_path / "wrong", (25, 30), 40), tmp_path / "room")
    assert [(one.rule, one.where[:5]) for one in wrong.findings] == [("frames", "meta/"), ("frames", "video")]


def test_places_that_are_none(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(PlaceError, match=str(tmp_path)):
            survey(here(place))


@pytest.mark.slow
def test_a_dataset_of_ours_is_sound_and_nothing_is_written_to_it(tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny.built(), tmp_path / "set"))
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    found = diagnosis(place, tmp_path / "room", clips=3)
    assert (found.kind, found.looked_at) == ("MLST", 3)
    assert found.worst() != ERROR
    assert all(0 <= share.bounds.low <= share.bounds.high <= 1 for share in found.shares)
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*")}


@pytest.mark.slow
def test_confined_workers_see_the_same(folder: Path, found: Diagnosis, tmp_path: Path) -> None:
    apart = examine(str(folder), 1000, 0, Local(2), Quiet(), Workspace(tmp_path, "doctor"))  # type: ignore[arg-type]
    assert apart == found


@pytest.mark.slow
def test_a_clip_that_kills_its_worker_is_to_blame_alone(folder: Path, found: Diagnosis, tmp_path: Path) -> None:
    def fragile(stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome[Any]]:
        size = (folder / "cut.mp4").stat().st_size
        for item in items:
            if size in item.sizes:
                yield Outcome(item.key, FAILED, "crashed", "signal 11", ())
            else:
                yield from at_once(stage, [item], work)

    watcher = Counting()
    died = examine(str(folder), 1000, 0, fragile, watcher, Workspace(tmp_path, "doctor"))  # type: ignore[arg-type]
    assert watcher.told.total() == watcher.total == died.looked_at, "clips are announced, and clips are counted"
    assert watcher.told[FAILED] == 1
    assert by_place(died)["cut.mp4"] == {"decode"}
    assert {**by_place(died), "cut.mp4": set()} == {**by_place(found), "cut.mp4": set()}


@pytest.mark.slow
def test_page_and_summary(found: Diagnosis, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", found)
    text = (tmp_path / "page.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    told = json.loads(json.dumps(summary(found)))
    assert {one["rule"] for one in told["rules"]} == {one.rule for one in found.findings}
    assert all(RULES[one["rule"]].meaning.lower() in text.lower() for one in told["rules"])


def test_every_rule_is_documented_and_has_a_severity() -> None:
    root = Path(__file__).parents[3]
    assert f"`mlst doctor`: {len(RULES)} kinds of defects" in (root / "README.md").read_text()
    page = (root / "docs" / "doctor.md").read_text()
    for name, rule in RULES.items():
        assert rule.severity in SEVERITIES
        assert f"| `{name}` | {rule.severity} | {rule.meaning} |" in page


def test_repeats_lie_amid_motion() -> None:
    still, step = [0.1] * 8, [4.0]
    assert not watch.held(np.array(still + step + still)).any(), "a title that changes once"
    assert watch.held(np.array([4.0, 4.0, 0.1, 4.0] * 3)).tolist() == [False, False, True, False] * 3
    assert not watch.held(np.array([4.0] * 8)).any()


def test_clips_that_take_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for number in range(3):
        defects.synthetic.write(place / f"{number}.mp4", defects.SPEC, defects.look(60 + number))
    usual = diagnosis(place, tmp_path / "room")
    monkeypatch.setattr(watch, "GROUP_WALL", 0.0)
    assert diagnosis(place, tmp_path / "room") == usual, "one is looked at, the others by themselves"
    monkeypatch.setattr(watch, "CLIP_CPU", 0.0)
    seen = watch.watch(place / "0.mp4")
    assert (seen.frames, seen.whole, seen.trouble) == (1, False, "")
