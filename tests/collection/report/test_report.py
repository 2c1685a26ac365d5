"""Somebody else's text in the report and on the terminal stays text."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from collection.cli.console import safe
from collection.engine.stage import Expected, Needs, Rejected
from collection.report.data import Shown
from collection.report.html import report_on, write_report
from collection.report.previews import chosen, preview
from collection.report.rows import in_turns, read_rows
from collection.report.story import Story, outcomes, problems
from collection.workspace.folder import Span, Workspace
from mlst.dataset.description import DATASET, INDEX, read_json, write_json
from mlst.levels.levels import read_levels
from tests import tiny
from tests.collection.engine.stages import Text
from tests.collection.engine.test_run import go

HOSTILE = (
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "</title><base href=//evil.example>",
    "--> <!-- <svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "&lt;script&gt;",
    "![x](https://evil.example) | a | `b` [c](javascript:d)",
    "evil\u202egnp.exe\u2066 \x1b[31m \ud800",
)


@dataclass(frozen=True, slots=True)
class Told:
    """Is refused with its item for a reason."""

    name: ClassVar[str] = "told"
    version: ClassVar[int] = 1
    output: ClassVar[type] = Text
    needs: ClassVar[Needs] = Needs(seconds=9.0, memory=0, network=False)

    def settings(self) -> Any:
        return {}

    def key(self, item: str) -> str:
        return item

    def reads(self, item: str) -> Iterable[Span]:
        return ()

    def expects(self, item: str) -> Expected:
        return Expected((), 1 << 20)

    def check(self, item: str, outputs: tuple[Text, ...]) -> None:
        pass

    def __call__(self, item: str, work: Workspace) -> Iterable[Text]:
        raise Rejected(item, item)


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes, and the addresses in them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found[tag, *sorted(name for name, _ in attributes)] += 1
        self.addresses |= {(value or "")[:22] for name, value in attributes if name in ("src", "href", "action")}

    def handle_comment(self, data: str) -> None:
        self.found["comment", data] += 1


def page(root: Path, texts: list[str], title: str) -> str:
    """The report of the tiny dataset under another title, of a build in which every text refused an item."""
    root.mkdir()
    shutil.copytree(tiny.built(), root / "dataset")
    description = root / "dataset" / DATASET
    description.write_bytes(write_json(replace(read_json(description), title=title)))
    results = [go(root, texts, stage=Told())]
    told = Story(tuple(outcomes(results, Counter(texts))), tuple(problems(results)))
    write_report(root / "report.html", Workspace(root / "dataset", ""), tiny.P910, told, Shown(1, ()))
    return (root / "report.html").read_bytes().decode()


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(text)
    return parser


def data_of(text: str) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found)


def test_the_report_shows_strangers_texts_as_text(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if "\ud800" not in text]
    harmless = elements(page(tmp_path / "a", [f"text {n}" for n in range(len(texts))], "title"))
    hostile = page(tmp_path / "b", texts, " ".join(texts))
    assert elements(hostile).found == harmless.found
    assert elements(hostile).addresses == set()
    assert harmless.found["script",] == 1
    assert [problem["key"] for problem in data_of(hostile)["problems"]] == texts


def test_the_policy_allows_the_pages_own_script_and_nothing_else(tmp_path: Path) -> None:
    text = page(tmp_path / "a", ["text"], "title")
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert re.findall(r"script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
    assert not re.search(r"https?:|connect-src", policy)


def test_details_have_no_control_characters(tmp_path: Path) -> None:
    text = page(tmp_path / "a", ["evil\u202egnp.exe\u2066 \x1b[31m"], "title")
    assert data_of(text)["problems"][0]["detail"] == "evilgnp.exe [31m"


def test_the_page_holds_the_index(tmp_path: Path) -> None:
    data = data_of(page(tmp_path / "a", ["text"], "title"))
    table = pq.read_table(tiny.built() / INDEX)
    assert data["key"] == table["key"].to_pylist()
    assert [data["splits"][n] for n in data["split"]] == table["split"].to_pylist()
    assert [data["sources"][n]["id"] for n in data["source"]] == table["source"].to_pylist()
    ti10 = np.frombuffer(base64.b64decode(data["numbers"]["ti10"]), "<f4")
    np.testing.assert_allclose(ti10, table["ti10"].to_numpy(), rtol=1e-6)
    low = data["flags"].index("low_resolution")
    assert [bool(bits >> low & 1) for bits in data["flag"]] == table["flag_low_resolution"].to_pylist()


def test_previews_are_small_films_of_their_clips(tmp_path: Path) -> None:
    data = data_of(page(tmp_path / "a", ["text"], "title"))
    levels = [data["level"][n] for n in data["inGrid"]]
    assert sorted(levels) == sorted(set(data["level"]))
    for film in data["previews"].values():
        with av.open(io.BytesIO(base64.b64decode(film.removeprefix("data:video/mp4;base64,")))) as container:
            shapes = [(frame.width, frame.height) for frame in container.decode(video=0)]
        assert shapes == [(128, 128)] * data["frames"]


@pytest.mark.parametrize("rate", ["30", "0/1", "30/0", "30/1 -i /etc/passwd", "1e9/1"])
def test_a_rate_that_is_none_is_refused_before_anything_is_started(rate: str) -> None:
    what = read_json(tiny.built() / DATASET)
    row = read_rows(tiny.built() / INDEX, read_levels("p910-240p-v1"))[0]
    with pytest.raises(ValueError, match="frames per second"):
        preview(Workspace(tiny.built(), ""), what, replace(row, rate=rate))


def test_the_process_that_makes_previews_decodes_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("libav was asked here")

    monkeypatch.setattr(av, "open", never)
    monkeypatch.setattr(av.VideoCodecContext, "create", never)
    what = read_json(tiny.built() / DATASET)
    row = read_rows(tiny.built() / INDEX, read_levels("p910-240p-v1"))[0]
    assert preview(Workspace(tiny.built(), ""), what, row)[4:8] == b"ftyp"


def test_previews_of_a_level_come_from_different_sources() -> None:
    row = read_rows(tiny.built() / INDEX, read_levels("p910-240p-v1"))[0]
    rows = [replace(row, key=f"{source}_{n}", source=source, level="s0t0") for source in "aaaab" for n in range(3)]
    rows += [replace(row, key="c_1", source="c", level="s1t0")]
    picked = chosen(rows, 3)
    assert [row.level for row in picked] == ["s0t0"] * 3 + ["s1t0"]
    assert {row.source for row in picked[:2]} == {"a", "b"}
    assert picked == chosen(rows[::-1], 3)


def test_clips_of_one_source_come_from_different_shots() -> None:
    row = read_rows(tiny.built() / INDEX, read_levels("p910-240p-v1"))[0]
    rows = [replace(row, key=f"a_{n}", source="a", shot=shot) for n, shot in enumerate((1, 1, 2, 1, 3))]
    rows.insert(3, replace(row, key="b_0", source="b", shot=1))
    assert [one.key for one in in_turns(rows)] == ["a_0", "b_0", "a_2", "a_4", "a_1", "a_3"]


@pytest.mark.parametrize("text", [*HOSTILE, "[bold red]x[/]", "[/]", "[link=https://evil.example]x[/link]", "\x9b31m"])
def test_the_terminal_shows_strangers_texts_as_text(text: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, highlight=False, soft_wrap=True, color_system="truecolor")
    console.print(safe(text))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", out.getvalue())
    assert out.getvalue() == "".join(c for c in text if c not in "\x1b\x9b\u202e\u2066\ud800") + "\n"


def test_lines_stay_lines() -> None:
    assert safe("a\nb\r\tc") == "a\nb\tc"


def test_a_page_that_cannot_be_written_is_no_fault_of_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        report_on(tiny.built(), tmp_path / "file/page.html", 0, tmp_path / "none")
