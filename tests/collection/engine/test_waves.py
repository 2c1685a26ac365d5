"""Waves: the same outcomes however many sources go at a time, few videos on the disk, nothing fetched in vain."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from collection.engine.ledger import Ledger
from collection.engine.run import Driver, folder
from collection.engine.stage import Needs, Rejected, Retry, attempt
from collection.engine.waves import fetch_and_scan
from collection.pack.stage import PackStage
from collection.report.status import remember, status
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.records import Scan, Video
from tests import tiny

NEEDS = Needs(seconds=60.0, memory=0, network=False)


@dataclass
class World:
    """What goes on outside: the disk of the workspace, and which sources misbehave how."""

    work: Workspace
    calls: list[str] = field(default_factory=list)
    odd: dict[str, Exception] = field(default_factory=dict)
    most: int = 0
    stop_after: int = 10**9
    shown: dict[str, int] = field(default_factory=dict)

    def call(self, name: str) -> None:
        self.calls.append(name)
        self.most = max(self.most, len(self.videos()))
        if name in self.odd:
            raise self.odd[name]

    def videos(self) -> list[str]:
        return sorted(p.name for p in self.work.root.glob("fetch-*/media/*"))


@dataclass(frozen=True)
class Fetch:
    world: World
    name: ClassVar[str] = "fetch"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Video
    needs: ClassVar[Needs] = NEEDS

    def settings(self) -> Any:
        return {}

    def key(self, source):
        return f"{source.id}@{source.url[-4:]}"

    def reads(self, source):
        return ()

    def __call__(self, source, work):
        self.world.call(f"fetch {source.id}")
        with work.create(f"media/{source.id}.mp4") as (file, name):
            file.write(source.id.encode())
        yield replace(tiny.video(source.id, tiny.scan(source.id, [], [])), file=name, size=len(source.id))


@dataclass(frozen=True)
class Scanning:
    world: World
    length: int = 1
    name: ClassVar[str] = "scan"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Scan
    needs: ClassVar[Needs] = NEEDS
    key = staticmethod(ScanStage.key)

    def settings(self) -> Any:
        return {"length": self.length}

    def reads(self, video):
        return ()

    def __call__(self, video, work):
        self.world.call(f"scan {video.source}")
        data = work.path(video.file).read_bytes()
        with work.create(f"clips/{video.source}.bin") as (file, name):
            file.write(data * self.length)
        yield replace(tiny.scan(video.source, [(0, 0)], [data]), file=name)


class Watch:
    """Totals and counts by stage, as a bar would show them."""

    def __init__(self):
        self.total, self.done = {}, Counter()

    def begin(self, stage, total, known):
        self.total[stage] = total
        self.done[stage] = known

    def start(self, stage, key):
        assert stage in self.total

    def outcome(self, stage, outcome):
        self.done[stage] += 1

    def fewer(self, stage):
        self.total[stage] -= 1

    def end(self, stage):
        assert self.done[stage] == self.total[stage]


SOURCES = [tiny.source(f"video{n}") for n in range(7)]
NAMES = [source.id for source in SOURCES]


@pytest.fixture
def world(tmp_path):
    return World(Workspace(tmp_path, ""))


def go(world, wave=2, keep=False, length=1, retry=False, sources=SOURCES):
    def here(stage, items, work):
        for item in items:
            if len(world.calls) >= world.stop_after:
                raise KeyboardInterrupt
            yield attempt(stage, item, work)

    world.calls.clear()
    world.most = 0
    fetch, scan = Fetch(world), Scanning(world, length)
    watch = Watch()
    remember(world.work, "r", "1.0.0", [fetch, scan, PackStage()])
    seen = fetch_and_scan(fetch, scan, sources, Driver(world.work, here, watch, retry, wave, keep))
    world.shown = watch.total
    return seen


def counts(world):
    found = Counter()
    for line in status(world.work):
        found[line.stage, line.status, line.kind] += line.count
    return dict(found)


def total(world, stage):
    return sum(count for (name, *_), count in counts(world).items() if name == stage)


@pytest.mark.parametrize(("wave", "keep"), [(1, False), (2, False), (3, True), (100, False), (100, True)])
def test_neither_waves_nor_keeping_change_what_is_seen(world, tmp_path, wave, keep):
    world.odd["fetch video1"], world.odd["scan video4"] = Rejected("gone.private", ""), Rejected("corrupt", "")
    whole = go(world, wave, keep)
    seen = list(whole)
    some = {NAMES[0], "video1", NAMES[-1], "video"}
    assert list(whole.of(some)) == [pair for pair in seen if pair[1].source in some] == [seen[0], seen[-1]]
    plain = World(Workspace(tmp_path / "plain", ""), odd=world.odd)
    assert seen == list(go(plain, len(SOURCES), keep=True))
    assert [scan.source for _, scan in seen] == [name for name in NAMES if name not in ("video1", "video4")]
    assert [video.source for video, _ in seen] == [scan.source for _, scan in seen]
    assert world.videos() == ([f"{name}.mp4" for name in NAMES if name != "video1"] if keep else [])
    assert world.most == min(6, wave) if not keep else world.most == 6


def test_what_is_scanned_is_not_fetched_again(world):
    first = list(go(world))
    assert world.calls[:4] == ["fetch video0", "fetch video1", "scan video0", "scan video1"]
    assert list(go(world)) == first
    assert world.calls == []
    assert world.shown == {"fetch": 7, "scan": 7}


def test_other_scan_settings_fetch_what_is_gone_and_nothing_else(world):
    go(world, keep=True, sources=SOURCES[:3])
    go(world, sources=SOURCES[3:])
    go(world, length=2)
    assert sorted(world.calls) == sorted(
        [*(f"fetch {name}" for name in NAMES[3:]), *(f"scan {name}" for name in NAMES)]
    )
    assert world.videos() == []


def test_lost_clips_are_made_again(world):
    seen = list(go(world))
    (world.work.root / seen[3][1].file).unlink()
    assert list(go(world)) == seen
    assert world.calls == ["fetch video3", "scan video3"]
    assert world.shown == {"fetch": 7, "scan": 7}


def test_clips_that_are_lost_with_their_source_are_not_seen(world):
    seen = list(go(world))
    (world.work.root / seen[3][1].file).unlink()
    world.odd["fetch video3"] = Rejected("gone.deleted", "")
    assert list(go(world)) == seen[:3] + seen[4:]
    assert world.shown == {"fetch": 7, "scan": 6}


def test_a_video_that_comes_back_as_it_was_is_not_scanned_again(world):
    seen = list(go(world))
    world.odd["fetch video6"] = Retry("network", "")
    go(world, length=2)
    world.odd.clear()
    assert list(go(world)) == seen
    assert world.calls == ["fetch video6"]
    assert world.videos() == []


def test_a_video_whose_scan_failed_stays_until_it_is_scanned(world):
    world.odd["scan video2"] = ValueError("a bug")
    go(world)
    assert world.videos() == ["video2.mp4"]
    world.odd.clear()
    assert len(list(go(world))) == len(SOURCES)
    assert world.calls == ["scan video2"]
    assert world.videos() == []


def test_a_kept_video_goes_once_it_is_not_to_be_kept(world):
    go(world, keep=True)
    go(world)
    assert (world.calls, world.videos()) == ([], [])


def test_a_video_that_is_lost_to_its_site_meanwhile_leaves_the_result(world):
    go(world)
    world.odd["fetch video5"] = Rejected("gone.deleted", "")
    world.odd["fetch video6"] = Retry("network", "")
    assert [scan.source for _, scan in go(world, length=2)] == NAMES[:5]
    assert counts(world) == {
        ("fetch", "done", ""): 5,
        ("fetch", "rejected", "gone.deleted"): 1,
        ("fetch", "failed", "network"): 1,
        ("scan", "done", ""): 5,
    }


def test_sources_come_and_go_with_the_manifest(world):
    go(world, sources=SOURCES[:5])
    assert [scan.source for _, scan in go(world, sources=SOURCES[2:])] == NAMES[2:]
    assert counts(world) == {("fetch", "done", ""): 5, ("scan", "done", ""): 5}


@pytest.mark.slow
def test_stopped_anywhere_it_adds_up_and_resumes_to_the_same(world, tmp_path):
    world.odd["fetch video1"] = Rejected("gone.private", "")
    whole = World(Workspace(tmp_path / "whole", ""), odd=world.odd)
    wanted = list(go(whole))
    calls = len(whole.calls)
    for stop in range(1, calls):
        part = World(Workspace(tmp_path / f"part{stop}", ""), odd=world.odd, stop_after=stop)
        with pytest.raises(KeyboardInterrupt):
            go(part)
        assert total(part, "fetch") == len(SOURCES)
        assert total(part, "scan") == counts(part).get(("fetch", "done", ""), 0)
        assert sum(count for (_, state, _), count in counts(part).items() if state != "pending") >= stop
        done = set(part.calls)
        part.stop_after = 10**9
        assert list(go(part)) == wanted
        assert not done & set(part.calls)
        assert len(done) + len(part.calls) == calls
        assert part.videos() == []


def test_what_a_kill_left_behind_is_removed(world):
    """Between the line in the ledger and the removal of the video."""
    go(world, keep=True, sources=SOURCES[:2])
    go(world)
    assert world.videos() == []


def test_a_video_outside_the_stages_folder_is_not_ours_to_remove(world):
    """A worker that hostile media has taken over may say that its video is another file of the workspace."""
    (world.work.root / "precious").mkdir()
    precious = world.work.root / "precious" / "file"
    precious.write_text("mine")
    fetch = Fetch(world)
    work = replace(world.work, folder=folder(fetch))
    with Ledger(work, Video) as ledger:
        (video,) = fetch(SOURCES[0], work)
        ledger.add(attempt(replace(fetch), SOURCES[0], work))
        ledger.add(replace(attempt(fetch, SOURCES[0], work), outputs=(replace(video, file="precious/file"),)))
    go(world, sources=SOURCES[:1])
    assert precious.read_text() == "mine"


def test_what_failed_before_comes_last_in_the_next_run(world):
    refused, held, odd = Retry("blocked.forbidden", ""), Retry("blocked.breaker", ""), Retry("network.reset", "")
    world.odd = {"fetch video0": refused, "fetch video1": odd, "fetch video2": held, "fetch video5": refused}
    go(world)
    go(world)
    tried = [name for name in world.calls if name.startswith("fetch")]
    assert tried == ["fetch video2", "fetch video0", "fetch video1", "fetch video5"]
