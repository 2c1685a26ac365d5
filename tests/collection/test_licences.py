"""Licences: what recipes accept, and what manifests and sites say."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from collection.engine.stage import Rejected
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.licences import accepted, wrong
from collection.manifest.summary import by_licence
from collection.recipe import FetchSettings, RecipeError, read_recipe
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, Source
from tests import synthetic

YOUTUBE = "Creative Commons Attribution license (reuse allowed)"
SOURCE = Source("a", "a.mp4", Fraction(0), OPEN_END, "CC-BY-4.0", "", "", "a", "tests")


@pytest.mark.parametrize(
    ("said", "licences", "expected"),
    [
        ("CC-BY-4.0", ["CC-BY-4.0"], True),
        ("cc-by-4.0 ", ["CC-BY-4.0"], True),
        ("CC-BY-3.0", ["CC-BY-4.0"], False),
        ("CC-BY-NC-4.0", ["CC-BY-4.0"], False),
        ("MIT OR CC0-1.0", ["CC0-1.0"], True),
        ("MIT AND CC0-1.0", ["CC0-1.0"], False),
        ("MIT AND (CC0-1.0 OR CC-BY-4.0)", ["MIT", "CC-BY-4.0"], True),
        ("CC0-1.0 OR", ["CC0-1.0"], False),
        ("(" * 150, ["MIT"], False),
        ("MIT OR " * 1000 + "MIT", ["MIT"], False),
        ("Standard YouTube License", ["CC-BY-4.0", "unknown"], False),
        (YOUTUBE, ["CC-BY-3.0"], True),
        (YOUTUBE, ["CC-BY-SA-4.0"], False),
        ("CC BY", ["CC-BY-4.0"], True),
        ("cc-by-nc-sa", ["CC-BY-4.0"], False),
        ("unknown", ["unknown"], True),
        ("unknown", ["MIT"], False),
        ("", ["MIT"], False),
    ],
)
def test_what_is_accepted(said: str, licences: list[str], expected: bool) -> None:
    assert accepted(said, licences) is expected


@pytest.mark.parametrize("name", ["CC-BY-9.0", "MIT OR CC0-1.0", "", "free", "CC BY 4.0"])
def test_a_recipe_names_licences_of_the_list(tmp_path: Path, name: str) -> None:
    (tmp_path / "recipe.toml").write_text(
        f'name = "x"\nversion = "1.0.0"\nsources = "s.csv"\n[fetch]\nlicences = ["MIT", "{name}"]\n'
    )
    assert name in wrong(name)
    with pytest.raises(RecipeError, match=r"spdx\.org"):
        read_recipe(tmp_path / "recipe.toml")


def attempt(source: Source, licences: tuple[str, ...], tmp_path: Path) -> str:
    stage = FetchStage(FetchSettings(local=True, licences=licences), str(tmp_path), Access())
    try:
        list(stage(source, Workspace(tmp_path / "work", "fetch-1")))
    except Rejected as why:
        return why.kind
    return "done"


@pytest.mark.slow
def test_a_source_under_another_licence_is_not_fetched(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a.mp4")
    assert attempt(SOURCE, (), tmp_path) == "done"
    assert attempt(SOURCE, ("MIT", "CC-BY-4.0"), tmp_path) == "done"
    assert attempt(SOURCE, ("MIT",), tmp_path) == "licence"


def test_what_was_fetched_before_is_found_again() -> None:
    """The setting is part of a stage's name only where it says something."""
    stage = FetchStage(FetchSettings(), "", Access())
    assert "licences" not in stage.settings()
    assert replace(stage, recipe=FetchSettings(licences=("MIT",))).settings()["licences"] == ["MIT"]


def test_sources_by_licence() -> None:
    rows = [
        replace(SOURCE, end=Fraction(7200)),
        replace(SOURCE, licence="unknown"),
        replace(SOURCE, start=Fraction(0)),
    ]
    table = by_licence(rows, FetchSettings(licences=("CC-BY-4.0",)), "other")
    assert [(row.licence, row.sources, row.seconds, row.accepted, row.pixels) for row in table] == [
        ("CC-BY-4.0", 2, 7200.0, True, True),
        ("unknown", 1, 0.0, False, False),
    ]
    assert all(row.accepted for row in by_licence(rows, FetchSettings(), "other"))
