"""What `mlst init` writes can be built from as it is, and nothing of the user's is overwritten."""

import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.manifest.table import read_manifest
from collection.recipe import Recipe, read_recipe
from collection.starting.template import StartError, dataset_name, start

NAMED = {
    "fetch": {"extractors", "http", "local", "licences"},
    "scan": {"length", "step"},
    "select": {"splits", "quota", "reject", "keep", "review"},
    "rai": {"collection", "limitations", "biases", "uses"},
}
"""Settings that people change."""


def test_the_recipe_is_read_and_stands_at_the_defaults(tmp_path: Path) -> None:
    made = start(tmp_path / "new")
    assert read_recipe(made.recipe) == Recipe(name="new", version="1.0.0", sources="sources.csv")
    found = tomllib.loads(made.recipe.read_text())
    assert {name for name, settings in NAMED.items() if not settings <= set(found[name])} == set()
    assert {"name", "version", "licence"} <= set(found)


def test_the_example_row_is_allowed_and_every_column_explained(tmp_path: Path) -> None:
    made = start(tmp_path)
    (row,) = read_manifest(made.sources, read_recipe(made.recipe).fetch)
    assert (row.start, row.end) == (Fraction(90), Fraction(180))
    columns = made.sources.read_text().splitlines()[0].split(",")
    explained = re.findall(r"^#   ([a-z, ]+?)  ", made.recipe.read_text(), re.MULTILINE)
    assert [column for line in explained for column in line.split(", ")] == columns


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "sources.csv").write_text("mine")
    assert start(tmp_path).kept
    assert (tmp_path / "sources.csv").read_text() == "mine"
    before = (tmp_path / "recipe.toml").read_bytes()
    with pytest.raises(StartError, match=r"recipe.toml is there already and stays as it is; give another NAME"):
        start(tmp_path)
    assert (tmp_path / "recipe.toml").read_bytes() == before


def test_a_file_cannot_be_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError):
        start(tmp_path / "file")
    with pytest.raises(StartError):
        start(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("folder", "name"), [("films", "films"), ("my films!", "my-films-"), (".hidden", "hidden"), ("映画", "my-dataset")]
)
def test_names_of_folders_become_names_of_datasets(tmp_path: Path, folder: str, name: str) -> None:
    assert dataset_name(tmp_path / folder) == name
    start(tmp_path / folder)


def test_the_command_says_what_it_wrote_and_refuses_the_second_time(tmp_path: Path) -> None:
    first = CliRunner().invoke(app, ["init", str(tmp_path / "new"), "--json"])
    assert json.loads(first.stdout) == {
        "recipe": str(tmp_path / "new" / "recipe.toml"),
        "manifest": str(tmp_path / "new" / "sources.csv"),
        "kept": False,
    }
    again = CliRunner().invoke(app, ["init", str(tmp_path / "new")])
    assert again.exit_code == 2
    assert "is there already" in again.output
