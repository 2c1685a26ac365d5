"""What a pilot says of a build, beside what a build of all rows really comes to; with made-up videos."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.scale import FETCH, SCAN, MadeUp, source
from benchmarks.scale import scan as scanned
from benchmarks.scale import video as fetched
from collection.building import Silent
from collection.cli.commands import app
from collection.engine.run import Driver
from collection.engine.waves import fetch_and_scan
from collection.forecast import NO_CLIP, USED, NoPilotError, forecast
from collection.manifest.pilot import pilot
from collection.manifest.table import write_manifest
from collection.pack.stage import PackStage
from collection.report.status import NoBuildError, remember
from collection.workspace.folder import Workspace
from mlst.records import Source

GONE, NONE = 7, 0
"""Remainders by 25 and 5 of the numbers of made-up sources that are gone, or have no clip."""


def rows(count: int) -> list[Source]:
    """Of two lists: the first half has a licence."""
    return [replace(source(n), licence="CC-BY-4.0" if n < count // 2 else "unknown") for n in range(count)]


def built(folder: Path, some: Sequence[Source]) -> Workspace:
    """The workspace of a build of some rows."""
    work = Workspace(folder, "")
    folder.mkdir(exist_ok=True)
    remember(work, "pilot", "1", (FETCH, SCAN, PackStage()))
    driver = Driver(work, MadeUp(), Silent(), retry=False, wave=1000, keep_videos=False)
    fetch_and_scan(FETCH, SCAN, sorted(some, key=lambda row: row.id), driver)
    return work


def test_a_pilot_tells_what_all_rows_come_to(tmp_path: Path) -> None:
    every = rows(500)
    found = forecast(built(tmp_path, pilot(every, 200, 0)), every, wave=256)
    numbers = [n for n in range(500) if n % 25 != GONE]
    clips = sum(len(scanned(fetched(source(n)), "").clips) for n in numbers)
    truth = {"gone.private": 500 - len(numbers), NO_CLIP: sum(n % 5 == NONE for n in numbers)}
    truth[USED] = len(numbers) - truth[NO_CLIP]
    assert (found.sources, found.pilot, found.unfinished, found.strata, found.strata_unseen) == (500, 200, 0, 2, 0)
    assert {fate.reason for fate in found.fates} == set(truth)
    assert sum(fate.seen for fate in found.fates) == 200
    assert sum(fate.sources.expected for fate in found.fates) == pytest.approx(500)
    for fate in found.fates:
        assert fate.sources.low < truth[fate.reason] < fate.sources.high
    assert found.clips.low < clips < found.clips.high
    assert found.download_bytes.low < len(numbers) * 1_000_000 < found.download_bytes.high
    assert found.hours_of_video.expected == pytest.approx(found.download_bytes.expected / 1e6 * 30 / 3600)


def test_of_all_rows_it_tells_just_what_they_came_to(tmp_path: Path) -> None:
    every = rows(100)
    found = forecast(built(tmp_path, every), every, wave=256)
    assert found.download_bytes.low == found.download_bytes.expected == found.download_bytes.high == 96 * 1_000_000
    assert found.clips.low == found.clips.high
    assert all(fate.sources.low == fate.sources.high == fate.seen for fate in found.fates)


@pytest.mark.parametrize("seen", [1, 49])
def test_nothing_is_sure_of_a_stratum_without_a_pilot(tmp_path: Path, seen: int) -> None:
    """All of the first half, or one of it, says little about the second."""
    every = rows(100)
    found = forecast(built(tmp_path, every[1 : 1 + seen]), every, wave=256)
    assert found.strata_unseen == 1
    assert found.clips.low < found.clips.expected < found.clips.high


def test_a_stratum_that_was_sampled_more_counts_no_more(tmp_path: Path) -> None:
    """One in ten of one licence, all of the other, whose sources are gone more often."""
    every = [replace(row, licence="CC-BY-4.0" if int(row.id[1:]) % 25 == GONE else "unknown") for row in rows(500)]
    some = [row for row in every if row.licence == "CC-BY-4.0" or int(row.id[1:]) % 10 == 1]
    found = forecast(built(tmp_path, some), every, wave=256)
    (gone,) = (fate for fate in found.fates if fate.reason == "gone.private")
    assert gone.seen == 20
    assert gone.sources.expected == pytest.approx(20)


def test_the_command(tmp_path: Path) -> None:
    every = rows(100)
    built(tmp_path / "work", every[:50])
    write_manifest(tmp_path / "sources.csv", every)
    (tmp_path / "recipe.toml").write_text('name = "all"\nversion = "1.0.0"\nsources = "sources.csv"\n')
    command = ["plan", str(tmp_path / "recipe.toml"), "--from", str(tmp_path / "work")]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["sources"], found["pilot"], found["strata_unseen"]) == (100, 50, 1)
    assert (found["fetch_seconds"], found["scan_cpu_seconds"]) == (None, None)  # the build left no account
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "gone.private" in shown.stdout


def test_nothing_is_learned_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoBuildError):
        forecast(Workspace(tmp_path, ""), rows(4), wave=256)
    with pytest.raises(NoPilotError, match="build a pilot"):
        forecast(built(tmp_path, rows(4)), [replace(row, id=f"other-{row.id}") for row in rows(4)], wave=256)
