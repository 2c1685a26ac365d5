"""Arrows between the rooms of astm, read from the imports that stand in its files, lazy ones included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "astm"
ROOMS = {path.stem for path in ROOT.iterdir() if path.suffix in ("", ".py") and not path.stem.startswith("_")}
FILES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}


def imported(path):
    """Full names that a file imports from astm, in whatever function the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def rooms():
    arrows = {room: set() for room in ROOMS}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imported(path) if room in ROOMS else ():
            package, _, rest = name.partition(".")
            if package == "astm" and rest:
                arrows[room].add(rest.split(".")[0])
    return {room: there - {room} for room, there in arrows.items()}


def files():
    """Arrows between files; a name that a file defines stands for the file, a package for its `__init__`."""
    arrows = {}
    for file, path in FILES.items():
        names = [name if name in FILES else name.rpartition(".")[0] for name in imported(path)]
        names = [name if name in FILES else f"{name}.__init__" for name in names]
        arrows[file] = {name for name in names if name in FILES and name != file}
    return arrows


def in_order(arrows):
    try:
        return set(TopologicalSorter(arrows).static_order())
    except CycleError as why:
        raise AssertionError(f"a circle of imports: {' -> '.join(why.args[1])}") from None


def test_no_circle_of_rooms():
    arrows = rooms()
    assert arrows["cli"] >= {"training", "evaluation", "predictor"}, "imports are not found"
    assert in_order(arrows) == ROOMS


def test_no_circle_of_files():
    arrows = files()
    assert "astm.data.__init__" in arrows["astm.training.train"], "imports are not found"
    assert in_order(arrows) == set(FILES)


def test_astm_does_not_know_how_datasets_are_made():
    names = {name.split(".")[0] for path in ROOT.rglob("*.py") for name in imported(path)}
    assert "mlst" in names
    assert "collection" not in names
