"""Links and anchors of the Markdown files lead somewhere, on a forge as on the site."""

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("manifests/**/*.md"), ROOT / "docs/llms.txt"])


def tokens(page: Path):
    """All tokens of a page, those inside paragraphs and table cells too."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def links(page: Path) -> list[str]:
    """Addresses of its links and pictures."""
    found = [token.attrGet("href") or token.attrGet("src") for token in tokens(page)]
    return [str(address) for address in found if address]


def anchors(page: Path) -> set[str]:
    """Those that a forge gives its headings: lower case, punctuation dropped, spaces to hyphens."""
    seen: dict[str, int] = {}
    headings = list(MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")))
    for opening, inline in pairwise(headings):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            seen[slug] = seen.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, n in seen.items() for number in range(n + 1)}


def broken(page: Path) -> list[str]:
    """Relative links that name no file, or no heading of it."""
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / unquote(path) if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and unquote(anchor) not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    assert broken(page) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    text = "# One `two`\n\n## A\n\n## A\n\n[a](#one-two) [b](#a-1) [c](no.md) [d](#a-2) [e](page.md#b) ![f](no.png)\n"
    page.write_text(text)
    assert broken(page) == ["no.md", "#a-2", "page.md#b", "no.png"]
