"""What both commands say of values that no command can use, whatever it would do with them."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from astm.cli.commands import app as astm
from collection.cli.commands import app as mlst

WRITTEN = {"out", "to", "work", "save"}
"""Names of parameters that say where to write, unless the command only reads there."""
READ = {("mlst", "verify", "work"), ("mlst", "report", "work"), ("mlst", "takedown", "work")}
READ |= {("mlst", "status", "work"), ("mlst", "doctor-env", "work")}
LATER = {("mlst", "inspect", "out"), ("astm", "report", "out"), ("astm", "train", "out"), ("astm", "data", "to")}
LATER |= {("astm", "evaluate", "save"), ("mlst", "expand", "work")}
"""Looked at by the command itself: the default depends on other values, or nothing may be written."""


def commands(name: str, group: Any) -> Iterator[tuple[str, str, Any]]:
    for word, command in group.commands.items():
        yield from commands(name, command) if hasattr(command, "commands") else [(name, word, command)]


ALL = [one for name, app in (("mlst", mlst), ("astm", astm)) for one in commands(name, typer.main.get_command(app))]


@pytest.mark.parametrize(("app", "words", "name"), [
    (mlst, ["plan", "sources.csv", "--from", ""], "--from"),
    (mlst, ["plan", ""], "RECIPE"),
    (mlst, ["manifest", "expand", "https://a.example", "", "--out=x.csv"], "URL..."),
    (mlst, ["build", "sources.csv", "--out="], "--out"),
    (astm, ["train", "convlstm", "--from", ""], "--from"),
    (astm, ["evaluate", ""], "MODEL"),
])  # fmt: skip
def test_an_empty_value_is_refused_by_the_name_of_its_option(app: typer.Typer, words: list[str], name: str) -> None:
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 2
    assert f"{name} is empty: is a variable of the shell not set?" in ran.stderr


def test_every_command_refuses_empty_values() -> None:
    assert {type(command).__name__ for _, _, command in ALL} == {"Command"}


def test_an_empty_preset_stands_for_none() -> None:
    assert CliRunner().invoke(astm, ["train", "convlstm", "--preset", "", "--print-config"]).exit_code == 0


def test_every_command_looks_first_whether_it_can_write() -> None:
    """Not after an hour of work."""
    blind = {
        (name, word, one.name)
        for name, word, command in ALL
        for one in command.params
        if one.name in WRITTEN and one.callback is None
    }
    assert blind == READ | LATER


@pytest.mark.parametrize(("app", "words"), [
    (mlst, ["export", "nowhere", "--format", "folder", "--out"]),
    (mlst, ["build", "nowhere", "--out"]),
    (mlst, ["doctor", "nowhere", "--out"]),
    (mlst, ["inspect", "clip", "--dataset", "nowhere", "--out"]),
    (astm, ["score", "nowhere", "nowhere", "--out"]),
    (astm, ["report", "nowhere", "--out"]),
    (astm, ["train", "convlstm", "--out"]),
])  # fmt: skip
def test_a_place_that_takes_no_files_is_refused(app: typer.Typer, words: list[str]) -> None:
    ran = CliRunner().invoke(app, [*words, "/dev/null/x"])
    assert ran.exit_code == 2
    assert "/dev/null is not a folder; give another path" in " ".join(ran.stderr.split())
