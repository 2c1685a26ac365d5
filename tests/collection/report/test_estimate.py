"""The plan's arithmetic, and its figures against what a fetch really took."""

import os
import signal
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.politeness.budget import Budget
from collection.recipe import FetchSettings, Limits, Recipe
from collection.report import estimate as estimating
from collection.report.estimate import PAGE_REQUESTS, estimate
from mlst.records import OPEN_END, Source

CLIPS = Path(__file__).parents[3] / "manifests/demo/clips"
WATCH = "https://www.youtube.com/watch?v=-Ab_9xYz012"


def source(url: str, start: int = 0, end: Fraction | int = OPEN_END) -> Source:
    return Source("s", url, Fraction(start), Fraction(end), "CC0-1.0", "t", "c", "g", "test")


def plan(*sources: Source, rate: float = 60.0, wave: int = 1000, **settings: object) -> object:
    recipe = Recipe(name="r", version="1.0.0", sources="s.csv", fetch=FetchSettings(**settings))  # type: ignore[arg-type]
    stage = FetchStage(recipe.fetch, str(CLIPS), Access(budget=Budget(requests_per_minute=rate)))
    return estimate(sources, recipe, stage, wave)


def test_spans_of_a_site() -> None:
    one = plan(*[source(WATCH, 10, 20)] * 100)
    assert (one.sources, one.site, one.http, one.local, one.unknown_length) == (100, 100, 0, 0, 0)
    assert one.seconds_of_video == 1000
    assert one.requests == 100 * (PAGE_REQUESTS + 2)
    assert one.download_bytes == 100 * 13.5 * 0.4e6 / 8
    assert one.fetch_seconds == one.requests
    assert one.disk_peak_bytes > one.download_bytes
    waves = plan(*[source(WATCH, 10, 20)] * 100, wave=25)
    assert one.disk_peak_bytes - waves.disk_peak_bytes == one.download_bytes * 3 // 4
    assert waves.download_bytes == one.download_bytes


def test_larger_renditions_and_faster_budgets() -> None:
    row = source(WATCH, 0, 10)
    assert plan(row, short_side=480).download_bytes == 2 * plan(row).download_bytes
    assert plan(row, short_side=480).cpu_seconds > plan(row).cpu_seconds
    assert plan(row, rate=30).fetch_seconds == 2 * plan(row).fetch_seconds
    many = plan(*[source(WATCH)] * 10, rate=1e6)
    assert many.unknown_length == 10
    assert many.fetch_seconds == many.download_bytes * 8 / 20e6


def test_local_files_are_measured() -> None:
    names = ["rabbit_orbit_8s_320x240.mp4", "bbb_trailer_33s_640x360.webm", "absent.mp4"]
    one = plan(*map(source, names), local=True)
    assert (one.local, one.requests, one.download_bytes, one.unknown_length) == (3, 0, 0, 0)
    assert one.seconds_of_video == pytest.approx(7.8 + 32.5, abs=0.1)
    assert one.cpu_seconds > 0
    assert plan(replace(source(names[0]), end=Fraction(2)), local=True).seconds_of_video == 2


def test_a_header_that_takes_its_reader_over_costs_that_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    name, here = "rabbit_orbit_8s_320x240.mp4", os.getpid()

    def taken_over(path: Path, limits: Limits) -> estimating.Header:
        if path.name != name:
            os.kill(os.getpid(), signal.SIGSEGV)
        return estimating.Header(float(os.getpid() != here), 240)

    monkeypatch.setattr(estimating, "_header", taken_over)
    assert plan(source("evil.mp4"), source(name), local=True).seconds_of_video == 1


def test_http_is_told_from_sites() -> None:
    one = plan(source("https://example.org/a.mp4", 0, 10), http=True)
    assert (one.site, one.http) == (0, 1)
    assert one.requests == 2


def test_rows_are_not_compared_with_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with all others is 9 s of CPU time for 8,000 rows and 10 minutes for 64,000."""
    compared: list[object] = []
    monkeypatch.setattr(Source, "__eq__", lambda row, other: compared.append(other) or row is other)
    plan(*[source(WATCH, n, n + 1) for n in range(50)])
    assert len(compared) <= 50


def test_nothing() -> None:
    assert plan().fetch_seconds == 0
