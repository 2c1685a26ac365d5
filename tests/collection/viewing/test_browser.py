"""The viewer in a real browser: beside a dataset on any server, over a folder on disk, and under `mlst view`."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collection.review import parse_review
from collection.viewing.page import VIEWER, viewer
from collection.viewing.server import serving, shelf
from collection.viewing.table import TABLE, table_bytes
from mlst.dataset.description import DATASET, read_json
from tests import tiny

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine"), pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the viewer, as a release has it."""
    folder = shutil.copytree(tiny.built(), tmp_path_factory.mktemp("viewer") / "release")
    (folder / VIEWER).write_text(viewer("Tiny <b>test</b>", ""))
    (folder / TABLE).write_bytes(table_bytes(folder, read_json(folder / DATASET)))
    return folder


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """A page; fails if it says anything on its console."""
    page, said = browser.new_page(viewport={"width": 1400, "height": 900}), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    yield page
    assert said == []
    page.close()


@contextmanager
def without_ranges(folder: Path) -> Iterator[str]:
    """Python's own server, which knows no ranges."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{VIEWER}"
    server.shutdown()
    server.server_close()


def plays(page: Any) -> None:
    """The clip that is asked for plays, and its record is shown."""
    shown = "() => document.getElementById('video')?.currentTime > 0 && document.getElementById('video').videoWidth"
    assert page.wait_for_function(shown).json_value() == tiny.SIDE  # after a key the clip before may play on
    assert "end_frame" in page.inner_text("#record")


def test_a_server_without_ranges_and_a_folder_on_disk(browser: Any, release: Path) -> None:
    with without_ranges(release) as address, opened(browser, address) as page:
        page.wait_for_selector("html[data-ready=yes]")
        plays(page)
        page.keyboard.press("ArrowDown")
        page.wait_for_function("() => document.getElementById('key').textContent === keyOf(found[1])")
        plays(page)
        assert page.inner_text("h1") == "Tiny <b>test</b>"
    with opened(browser, (release / VIEWER).as_uri()) as page:
        page.set_input_files("#folder", str(release))
        page.wait_for_selector("html[data-ready=yes]")
        plays(page)
        page.keyboard.press("x")
        with page.expect_download() as download:
            page.click("text=Save review.csv")
        assert list(parse_review(Path(download.value.path()).read_bytes(), "r").marks.values()) == ["reject"]


def test_filters(browser: Any, release: Path) -> None:
    with serving(shelf(release, release.with_name("none.csv")), 0) as address, opened(browser, address) as page:
        page.wait_for_selector("html[data-ready=yes]")
        everything = page.evaluate("N")
        page.locator("#levels button").nth(4).click()
        assert page.evaluate("count") == page.evaluate("C.level.reduce((sum, n) => sum + (n === 4), 0)") > 0
        page.click("#clear")
        key = page.evaluate("keyOf(7)")
        for text, least in ((key, 1), (key[:-3], 1), (key.rpartition("_")[0].upper(), 2), ("TITLE of", everything)):
            page.fill("#search", text)
            assert page.evaluate("count") >= least, text
            assert page.evaluate("[...found.subarray(0, count)].includes(7)"), text
        page.fill("#search", key)
        assert page.evaluate("count") == 1
        page.fill("#search", "no such thing")
        assert page.evaluate("count") == 0
        page.click("#clear")
        page.select_option("#order", "motion")
        assert page.evaluate("[...found].every((i, n) => !n || C.motion[found[n - 1]] <= C.motion[i])")
        page.select_option("#split", "test")
        assert page.evaluate("count") == page.evaluate("C.split.filter((n) => H.splits[n] === 'test').length")


def test_marks_are_kept_by_mlst_view(browser: Any, release: Path, tmp_path: Path) -> None:
    review = tmp_path / "review.csv"
    review.write_text('key,mark,note\nother_000000000,keep,"a ""note"", here"\n')
    with serving(shelf(release, review), 0) as address, opened(browser, address) as page:
        page.wait_for_selector("html[data-ready=yes]")
        first, second = page.evaluate("[keyOf(found[0]), keyOf(found[1])]")
        page.keyboard.press("c")
        page.keyboard.press("ArrowDown")
        page.wait_for_function("() => document.getElementById('key').textContent === keyOf(found[1])")
        page.click("#marks >> text=Wrong level")
        page.wait_for_function("() => document.getElementById('saved').textContent === 'Marks saved: 3'")
        assert parse_review(review.read_bytes(), "r").marks == {
            first: "bad_cut",
            second: "wrong_level",
            "other_000000000": "keep",
        }
        assert 'keep,"a ""note"", here"' in review.read_text()
        page.select_option("#marked", "bad_cut")
        assert page.evaluate("[...found.subarray(0, count)].map(keyOf)") == [first]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_everybody(browser: Any, release: Path, scheme: str) -> None:
    with serving(shelf(release, release.with_name("none.csv")), 0) as address, opened(browser, address) as page:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector("html[data-ready=yes]")
        found = axe.Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
