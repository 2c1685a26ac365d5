"""Somebody else's text in the report and on the terminal stays text."""

import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from collection.cli.console import safe
from collection.engine.stage import Needs, Rejected
from collection.report.html import write_report
from collection.workspace.folder import Span, Workspace
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
    root.mkdir()
    result = go(root, texts, stage=Told())
    dataset = Workspace(tiny.built(), "")
    write_report(root / "report.html", dataset, title, tiny.LEVELS, [result], Counter(texts))
    return (root / "report.html").read_bytes().decode()


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(text)
    return parser


def test_the_report_shows_strangers_texts_as_text(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE if "\ud800" not in text]
    harmless = elements(page(tmp_path / "a", [f"text {n}" for n in range(len(texts))], "title"))
    hostile = page(tmp_path / "b", texts, " ".join(texts))
    assert elements(hostile).found == harmless.found
    assert elements(hostile).addresses == {"data:image/png;base64,"}
    assert "script" not in {tag for tag, *_ in harmless.found}
    assert "default-src 'none'" in hostile


def test_details_have_no_control_characters(tmp_path: Path) -> None:
    text = page(tmp_path / "a", ["evil\u202egnp.exe\u2066 \x1b[31m"], "title")
    assert "evilgnp.exe" in re.findall(r'<td class="detail">(.*?)</td>', text)[0]


@pytest.mark.parametrize("text", [*HOSTILE, "[bold red]x[/]", "[/]", "[link=https://evil.example]x[/link]", "\x9b31m"])
def test_the_terminal_shows_strangers_texts_as_text(text: str) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, highlight=False, soft_wrap=True, color_system="truecolor")
    console.print(safe(text))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", out.getvalue())
    assert out.getvalue() == "".join(c for c in text if c not in "\x1b\x9b\u202e\u2066\ud800") + "\n"


def test_lines_stay_lines() -> None:
    assert safe("a\nb\r\tc") == "a\nb\tc"
