"""The report in a real browser: it asks the network for nothing, plays, filters, selects and exports."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collection.report.html import Problem, Story, write_report
from collection.report.status import Line
from collection.workspace.folder import Workspace
from tests import tiny

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine"), pytest.mark.slow]

TOLD = Story(
    (Line("fetch", "rejected", "gone.private", 1),), (Problem("fetch", "abc", "gone.private", "it is private"),)
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, Workspace(tiny.built(), ""), tiny.P910, TOLD, per_level=2)
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


def test_keys_are_exported(page: Any) -> None:
    page.locator(".row input").nth(1).check()
    with page.expect_download() as download:
        page.click("#keys")
    lines = Path(download.value.path()).read_text().split()
    assert lines == ["key", page.evaluate("D.key[shown[1]]")]


def test_a_clip_opens_by_keyboard_and_steps(page: Any) -> None:
    page.locator(".row .open").first.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#cliptitle") == page.evaluate("D.key[shown[0]]")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('clip').open")
    page.locator(".clips button").first.click()
    page.click("text=+ frame")
    page.wait_for_function("document.querySelector('dialog video').paused")


def test_problems_are_listed_by_reason(page: Any) -> None:
    page.click("#outcomes button")
    assert "it is private" in page.inner_text("#problems")


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_mode(page: Any) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
