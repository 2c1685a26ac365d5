"""Check a built site: internal links and anchors resolve, every page is reachable, no page asks another host.

python docs/tools/check.py out/site
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Attributes whose address a browser requests when it opens the page."""
EXTERNAL = re.compile(r"(?:url\(|@import\s+)['\"]?(?:https?:)?//")


class Read(HTMLParser):
    """Anchors, links and requests of one page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.requests: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and "canonical" not in values.get("rel", ""):
            self.requests.append(values.get("href", ""))
        if tag in LOADED and LOADED[tag] in values:
            self.requests.append(values[LOADED[tag]])


def faults(site: Path) -> Iterator[str]:
    """One line per broken link, unreachable page and request to another host."""
    pages = {page: Read(page) for page in sorted(site.rglob("*.html"))}
    reached = {site / "index.html", site / "404.html"}
    for page, read in pages.items():
        own = page.relative_to(site)
        yield from (f"{own}: requests {address}" for address in read.requests if urlsplit(address).netloc)
        if own.name == "404.html":  # its links are absolute: it is served for any address
            continue
        for address in (*read.links, *read.requests):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            reached.add(target)
            if not target.is_file():
                yield f"{own}: {address} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{own}: {address} has no such anchor"
    yield from (f"{page.relative_to(site)}: no page links to it" for page in pages if page not in reached)
    for style in sorted(site.rglob("*.css")):
        if EXTERNAL.search(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)}: requests another host"


def main(site: Path) -> int:
    """Print the faults; 1 if there are any."""
    found = list(faults(site.resolve()))
    print(*found, f"{len(found)} faults", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
