"""Which way imports run, read from the code: between packages, rooms and files. Run as a program, it prints that.

A room is a first-level entry of a package: a folder, or a file that lies beside the folders.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"mlst": {"mlst"}, "collection": {"collection", "mlst"}, "astm": {"astm", "mlst"}}
"""What each package may import of the three."""

Arrows = Mapping[str, set[str]]
"""By name of a file or room, those that it imports."""


def modules(package: str) -> dict[str, Path]:
    """Every file of a package, by its dotted name; a package's own `__init__` goes by the name of its folder."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, be it inside a function, but for those that only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_arrows(files: Mapping[str, Path]) -> Arrows:
    """Between the files of all packages. `from a.b import c` is an arrow to `a.b.c` where that is a file."""
    arrows: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for what in imported(path):
            target = what if what in files else what.rpartition(".")[0]
            if target in files and target != name:
                arrows[name].add(target)
    return arrows


def room(module: str) -> str:
    """`collection.media` for `collection.media.probe`, `mlst` for the package's own `__init__`."""
    return ".".join(module.split(".")[:2])


def room_arrows(files: Arrows) -> Arrows:
    """Between rooms. What a package's own `__init__` offers is counted as a room like any other."""
    arrows: dict[str, set[str]] = {room(name): set() for name in files}
    for name, targets in files.items():
        arrows[room(name)] |= {room(target) for target in targets} - {room(name)}
    return arrows


def of(package: str, arrows: Arrows) -> Arrows:
    """The arrows within a package."""
    mine = {name for name in arrows if name.split(".")[0] == package}
    return {name: arrows[name] & mine for name in sorted(mine)}


def circle(arrows: Arrows) -> list[str]:
    """Names that import each other in a circle, the first again at the end; nothing where there is none."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as why:
        return list(why.args[1])
    return []


FILES = file_arrows({name: path for package in PACKAGES for name, path in modules(package).items()})


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_they_may(package: str) -> None:
    wrong = {
        f"{name} -> {target}"
        for name, targets in FILES.items()
        for target in targets
        if name.split(".")[0] == package and target.split(".")[0] not in PACKAGES[package]
    }
    assert not wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(FILES) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_have_an_order(package: str) -> None:
    assert circle(of(package, room_arrows(FILES))) == []


UNSEEN = "from p import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.b\n"


def test_circles_and_arrows_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from p.b import x\n")
    (tmp_path / "b.py").write_text("def f():\n    import p.c\n")
    (tmp_path / "c.py").write_text(
        "from p import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.b\n"
    )
    files = {f"p.{name}": tmp_path / f"{name}.py" for name in "abc"}
    assert file_arrows(files) == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}
    assert set(circle(file_arrows(files))) == {"p.a", "p.b", "p.c"}
    assert circle({"p.a": {"p.b"}, "p.b": set()}) == []


def main() -> None:
    """Print the rooms of each package, each after those that it imports."""
    for package in PACKAGES:
        arrows = of(package, room_arrows(FILES))
        count = sum(map(len, arrows.values()))
        print(f"{package}: {len(arrows)} rooms, {count} arrows")
        for name in graphlib.TopologicalSorter(arrows).static_order():
            targets = ", ".join(sorted(target.rpartition(".")[2] for target in arrows[name]))
            print(f"  {name.rpartition('.')[2]}: {targets}")


if __name__ == "__main__":
    sys.exit(main())
