"""The site has a page for what the pages of this folder link to; `make docs` checks the built one."""

import importlib.util
import re
from pathlib import Path
from posixpath import normpath

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def address(path: str) -> str:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs/tools/pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.address(path)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_out_of_docs_have_a_page_on_the_site(page):
    links = {normpath(f"docs/{link}") for link in LINK.findall(page.read_text())}
    assert {link for link in links if not link.startswith("docs/") and not address(link)} == set()
