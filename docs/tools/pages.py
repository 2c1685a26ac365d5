"""Which page of the site shows a file of the repository. Needs nothing but Python: the tests read it too."""

from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
PACKAGES = ("mlst", "collection", "astm")
INCLUDED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "attribution.md": "manifests/demo/ATTRIBUTION.md",
}
"""Pages of the site that lie elsewhere in the repository."""
PAGES = {path: page for page, path in INCLUDED.items()} | {"README.md": "index.md"}


def address(path: str) -> str:
    """The page that shows a file of the repository; "" when none does."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(".py") and path.startswith(PACKAGES):
        return f"reference/{'.'.join(PurePosixPath(path).parent.parts)}.md"
    return ""
