"""How large datasets feel in a browser: the report of 10^5 clips, and the viewer of 10^6.

    python -m benchmarks.report_scale --clips 100000 --page report
    python -m benchmarks.report_scale --clips 1000000 --page viewer

The index is made up: rows of a small real dataset again and again under other keys, fingerprints and statistics, all
of which point at its real clips. Needs Chromium and Playwright. Prints a line of JSON: sizes, seconds and milliseconds
of the browser's clock, MB of its heap.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import sync_playwright

from collection.report.html import report_on
from collection.viewing.server import serving, shelf
from mlst.dataset.description import DATASET, INDEX, LOCK, read_json, write_json
from mlst.dataset.lock import read_lock, write_lock
from tests import tiny

CLIPS_OF_A_SOURCE = 10
SEARCHES = ("filter.level = 4; update()", "filter.level = -1; filter.text = 'source 77'; update()")
FILTERS = {
    "report": (*SEARCHES, "reset(); order.by = 't'; update()"),
    "viewer": (*SEARCHES, "filter.text = ''; filter.split = 'test'; update()", "filter.order = 'motion'; update()"),
}
"""What is timed, three times each: a level, a search, and a sort or a split."""


def made_up(folder: Path, clips: int) -> None:
    """A dataset of so many clips in `folder`, as far as pages look at it."""
    shutil.copytree(tiny.built(), folder)
    rng, few = np.random.default_rng(0), pq.read_table(folder / INDEX)
    places = np.arange(clips)
    table = few.take(pa.array(places % len(few)))
    names = [f"source_{n:07d}" for n in range(-(-clips // CLIPS_OF_A_SOURCE))]
    sources = [names[n // CLIPS_OF_A_SOURCE] for n in places]
    seconds = places % CLIPS_OF_A_SOURCE
    prints = rng.bytes(clips * 72 * 4)
    new: dict[str, Any] = {
        "source": sources,
        "key": [f"{name}_{1000 * second:09d}" for name, second in zip(sources, seconds.tolist(), strict=True)],
        "title": [f"Title of {name.replace('_', ' ')}" for name in sources],
        "shot": seconds,
        "first_frame": 30 * seconds,
        "end_frame": 30 * seconds + 28,
        "start_seconds": seconds.astype(float),
        "end_seconds": seconds + 0.9,
        "fingerprint": [prints[288 * n : 288 * (n + 1)].hex() for n in range(clips)],
        "si": few["si"].to_numpy()[places % len(few)] * np.exp(rng.normal(0, 0.1, clips)),
        "ti10": few["ti10"].to_numpy()[places % len(few)] * np.exp(rng.normal(0, 0.1, clips)),
    }
    for name, values in new.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    pq.write_table(table, folder / INDEX)
    row = next(read_lock(folder / LOCK))
    lock = (replace(row, source=replace(row.source, id=name, title=f"Title of {name}")) for name in names)
    (folder / LOCK).write_bytes(b"".join(write_lock(lock)))
    dataset = replace(read_json(folder / DATASET), clips=clips, sources=len(names))
    (folder / DATASET).write_bytes(write_json(dataset))


def opened(address: str, filters: tuple[str, ...]) -> dict[str, Any]:
    """What a browser takes to open a page and to filter in it, on its own clock."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(address)
        page.wait_for_selector("html[data-ready=yes]", timeout=120_000)
        ready = page.evaluate("performance.now() / 1000")
        timed = "(() => {{ const t = performance.now(); {}; return Math.round(performance.now() - t); }})()"
        milliseconds = {text: [page.evaluate(timed.format(text)) for _ in range(3)] for text in filters}
        heap = page.evaluate("performance.memory.usedJSHeapSize / 1e6")
        browser.close()
    return {"ready_at_most_s": round(ready, 2), "filters_ms": milliseconds, "heap_mb": round(heap)}


def measured(folder: Path, kind: str) -> Iterator[tuple[str, Any]]:
    """Names and figures of one kind of page."""
    began, page = time.monotonic(), folder.with_name("report.html")
    if kind == "report":
        report_on(folder, page, 4, folder.parent / "none")
        yield "write_s", round(time.monotonic() - began, 1)
        yield "page_mb", round(page.stat().st_size / 1e6, 1)
        yield from opened(page.as_uri(), FILTERS[kind]).items()
    else:
        shown = shelf(folder, folder.with_name("review.csv"))
        yield "table_s", round(time.monotonic() - began, 1)
        yield "table_mb", round(sum(len(content) for _, content in shown.made.values()) / 1e6, 1)
        with serving(shown, 0) as address:
            yield from opened(address, FILTERS[kind]).items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--page", choices=FILTERS, default="report")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "dataset")
        made_up(folder, asked.clips)
        print(json.dumps({"clips": asked.clips, "page": asked.page, **dict(measured(folder, asked.page))}))


if __name__ == "__main__":
    main()
