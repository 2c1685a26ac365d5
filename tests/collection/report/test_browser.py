"""The report in a real browser: it asks the network for nothing, plays, filters, selects and exports."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from collection.report.data import Shown
from collection.report.html import write_report
from collection.report.status import Line
from collection.report.story import Copy, Cutting, LeftOut, Part, Problem, Story
from collection.workspace.folder import Workspace
from mlst.dataset.card import Measured
from mlst.dataset.description import INDEX, LOCK
from mlst.dataset.exclusions import parse_exclusions
from mlst.dataset.lock import read_lock
from tests import tiny

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine"), pytest.mark.slow]

TITLES = (
    "Rindfleischetikettierungs\u00fcberwachungsaufgaben\u00fcbertragungsgesetz" * 2,
    "\u77ed\u3044\u52d5\u753b\u306e\u984c\u540d" * 20,
    "<b>Bold</b>",
)


def told(keys: list[str], sources: list[str]) -> Story:
    """Something of everything that a build may tell."""
    film = (Part("shot", 0.0, 0.2), Part("cut", 0.2, 0.2), Part("shot", 0.2, 0.4), Part("dissolve", 0.4, 0.5))
    return Story(
        (Line("fetch", "rejected", "gone.private", 1), Line("select", "rejected", "duplicate", 2)),
        (Problem("fetch", "abc", "gone.private", "it is private", "ask its owner"),),
        (("fetch", 1.5), ("scan", 2.5)),
        tuple(Cutting(source, film) for source in sorted(set(sources))),
        (LeftOut("s0t0", "duplicate", 2),),
        (Copy("other_000000000", keys[0], "duplicate"),),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a dataset with long titles, whose middle level is empty, and with results of a model."""
    folder = tmp_path_factory.mktemp("report")
    made = tiny.material(folder / "work", 12)
    for n, name in enumerate(made.sources):
        made.sources[name] = replace(made.sources[name], title=TITLES[n % len(TITLES)])
        clips = tuple(clip for clip in made.scans[name].clips if clip.statistics.ti10 != tiny.TI[1])
        made.scans[name] = replace(made.scans[name], clips=clips)
    tiny.build(folder / "work", folder / "dataset", made)
    table = pq.read_table(folder / "dataset" / INDEX)
    path, scores = folder / "report.html", Measured("a model", "test", "10 -> 20", "mse", (("all", 3, 1.5),))
    story = told(table["key"].to_pylist(), table["source"].to_pylist())
    write_report(path, Workspace(folder / "dataset", ""), tiny.P910, story, Shown(2, (scores,)))
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, open; fails if the page says anything on its console or asks for anything."""
    opened, said = browser.new_page(viewport={"width": 1400, "height": 900}), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready=yes]")
    yield opened
    assert said == []
    opened.close()


def shown(page: Any) -> int:
    return int(page.inner_text("#count").split()[0])


def test_previews_play_when_they_have_the_focus(page: Any) -> None:
    preview = page.locator(".clips button").first
    video = preview.locator("video")
    assert video.evaluate("v => v.paused")
    preview.focus()
    page.wait_for_function("v => !v.paused && v.currentTime > 0", arg=video.element_handle())


def test_a_level_filters_the_page(page: Any) -> None:
    everything = shown(page)
    cells = page.locator(".level > button")
    counts = [int(cells.nth(n).inner_text().split()[1]) for n in range(9)]
    assert sum(counts) == everything
    full = max(range(9), key=lambda n: counts[n])
    cells.nth(full).click()
    assert shown(page) == counts[full]
    page.click("#clear")
    assert shown(page) == everything


def test_search_and_sorting(page: Any) -> None:
    keys = page.evaluate("D.key")
    page.fill("#search", keys[0].upper())
    assert shown(page) == 1
    page.click("#clear")
    page.click("[data-by=t] button")
    assert page.evaluate("shown.map((i) => numbers.ti10[i])") == sorted(page.evaluate("Array.from(numbers.ti10)"))


def test_a_brush_selects_and_a_range_filters(page: Any) -> None:
    box = page.locator("#points").bounding_box()
    page.mouse.move(box["x"] + 45, box["y"] + 13)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 13, box["y"] + box["height"] - 35)
    page.mouse.up()
    assert shown(page) == page.evaluate("N")
    page.click("#unselect")
    middle = sorted(page.evaluate("Array.from(numbers.si)"))[page.evaluate("N") // 2]
    page.select_option("#column", "si")
    page.fill("#range", f"{middle + 1e-3}..")
    page.press("#range", "Enter")
    assert shown(page) == page.evaluate(f"Array.from(numbers.si).filter((x) => x > {middle + 1e-3}).length")


def exported(page: Any, button: str) -> str:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_text()


def test_the_selection_is_exported_as_keys_a_review_and_exclusions(page: Any, report: Path) -> None:
    page.locator(".row input").nth(1).check()
    key = page.evaluate("D.key[shown[1]]")
    assert exported(page, "#keys").split() == ["key", key]
    assert exported(page, "#reviewlist").split() == ["key,mark,note", f"{key},reject,"]
    excluded = parse_exclusions(exported(page, "#exclusionlist").encode(), "exclusions.txt")
    lock = [row.source for row in read_lock(report.with_name("dataset") / LOCK)]
    assert [source.id for source in lock if excluded.excludes(source)] == [key.rpartition("_")[0]]
    assert excluded.salt == "tiny"


def test_a_clip_opens_by_keyboard_and_steps(page: Any) -> None:
    page.locator(".row .open").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#cliptitle") == page.evaluate("D.key[shown[0]]")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('clip').open")
    page.locator(".clips button").first.click()
    page.click("text=+ frame")
    page.wait_for_function("() => document.querySelector('dialog video').paused")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#cliptitle") == page.evaluate("D.key[shown[shown.indexOf(D.inGrid[0]) + 1]]")


def test_a_clip_is_shown_in_its_film_with_the_copies_that_were_left_out(page: Any) -> None:
    page.evaluate("openClip(0)")
    assert page.locator("dialog .film .shot").count() == 2
    assert page.locator("dialog .film .edge").count() == 2
    assert "2 shots, 1 cut, 1 dissolve" in page.inner_text("dialog")
    assert "other_000000000 (duplicate)" in page.inner_text("dialog")


def test_problems_are_listed_by_reason_with_advice(page: Any) -> None:
    page.locator("#outcomes button").first.click()
    assert "it is private" in page.inner_text("#problems")
    assert "Ask its owner." in page.inner_text("#problems")
    page.locator("#outcomes button").last.click()
    assert page.locator("#problems td").all_inner_texts() == ["S0T0", "2"]


def test_an_empty_level_says_what_would_fill_it(page: Any) -> None:
    texts = page.locator(".level").all_inner_texts()
    empty = [text for text in texts if "No clip" in text]
    assert [text.split()[0] for text in empty] == ["S0T1", "S1T1", "S2T1"]
    assert "SI from 71.2 to 103.9 and TI from 13.5 to 24.5" in empty[1]


def test_strips_show_both_sides_of_a_transition(page: Any) -> None:
    assert page.locator(".strips img").count() == page.evaluate("D.strips.length") > 0
    sizes = page.locator(".strips img").evaluate_all("all => all.map((i) => [i.naturalWidth, i.naturalHeight])")
    assert {(width - 5) % 72 for width, _ in sizes} == {0}
    assert {height for _, height in sizes} == {72}
    films = page.evaluate("D.sources.length")
    assert page.inner_text("#kindsfound") == f"Transitions in the films: cut {films}, dissolve {films}."


def test_overview_and_baselines(page: Any) -> None:
    assert "1.5 s on fetch, 2.5 s on scan." in page.inner_text("header")
    assert page.locator("#scores td").all_inner_texts() == ["a model", "1.5"]


def test_strangers_titles_stay_text_and_are_found(page: Any) -> None:
    page.fill("#search", "<B>bold")
    assert shown(page) == page.evaluate("D.source.filter((n) => D.sources[n].title === '<b>Bold</b>').length") > 0
    assert page.locator("main b >> text=Bold").count() == 0
    assert page.evaluate("ranks(['b', '\u00e4', 'a', 'a']).join()") == "2,1,0,0"


def test_numbers_are_sorted_as_numbers(page: Any) -> None:
    assert page.evaluate("[...ascending([3, -1, 0, -2.5, 3, 0])]") == [3, 1, 2, 5, 0, 4]


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1400)])
@pytest.mark.parametrize("opened", [False, True])
def test_axe_finds_nothing_serious(page: Any, scheme: str, width: int, opened: bool) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#outcomes button").first.click()
    if opened:
        page.evaluate("openClip(D.inGrid[0])")
    found = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_it_can_be_printed(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#rows").is_visible()
    assert page.locator("#balance table").is_visible()


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode(page: Any) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
