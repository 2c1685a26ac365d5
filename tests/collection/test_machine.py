"""What `mlst doctor-env` says of machines that lack something."""

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collection import machine
from collection.cli.commands import app

ROOT = Path(__file__).parents[2]


def test_every_extra_of_users_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = set(project["optional-dependencies"]) - {"all", "dev", "docs"}
    assert set(machine.SERVES) == set(machine.MODULES.values()) == asked


def test_extras_that_lack_a_module_say_how_to_get_it_and_only_build_is_needed() -> None:
    every = frozenset(machine.MODULES)
    assert {one.state for one in machine.extras(every)} == {"ok"}
    states = {one.name: (one.state, one.found) for one in machine.extras(every - {"yt_dlp", "ray"})}
    assert states["extra build"] == ("needed", "no yt_dlp")
    assert states["extra ray"] == ("missing", "no ray")
    assert states["extra s3"][0] == "ok"
    assert "pip install 'mlst[ray]'" in {one.name: one.remedy for one in machine.extras(frozenset())}["extra ray"]


def program(folder: Path, name: str, says: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)


def test_scans_without_kernels_are_said() -> None:
    assert machine.kernels(True).state == "ok"
    assert "C compiler" in machine.kernels(False).remedy


@pytest.mark.parametrize(
    ("programs", "state", "found"),
    [
        ({}, "missing", "none of deno, node"),
        ({"node": "v12.1.0"}, "missing", "node 12.1.0 is too old"),
        ({"node": "v24.1.0"}, "ok", "node 24.1.0"),
        ({"node": "v24.1.0", "deno": "deno 2.4.0 (release)"}, "ok", "deno 2.4.0"),
    ],
)
def test_a_runtime_is_found_where_yt_dlp_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], state: str, found: str
) -> None:
    for name, says in programs.items():
        program(tmp_path, name, says)
    monkeypatch.setenv("PATH", str(tmp_path))
    one = machine.javascript()
    assert (one.state, one.found) == (state, found)
    assert ("install deno" in one.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("free", "state"), [(50 << 30, "ok"), (10 << 30, "ok"), (9 << 30, "missing"), (1 << 20, "needed")]
)
def test_little_room_is_said(free: int, state: str) -> None:
    one = machine.disk("temporary files", Path("here"), free)
    assert one.state == state
    assert ("TMPDIR" in one.remedy) == (state != "ok")


def test_no_sandbox_is_said() -> None:
    assert machine.sandbox("").state == "ok"
    assert machine.sandbox("no seccomp").found == "no seccomp"


@pytest.mark.parametrize("lacking", [(), ("yt_dlp",)])
def test_the_command_ends_as_the_checks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    installed = frozenset(machine.MODULES) - set(lacking)
    monkeypatch.setattr(machine, "_installed", lambda: installed)
    ran = CliRunner().invoke(app, ["doctor-env", str(tmp_path / "work"), "--json"])
    found = {one["name"]: one["state"] for one in json.loads(ran.stdout)}
    wrong = "needed" in found.values()
    assert (found["extra build"] == "needed") == bool(lacking)
    assert ran.exit_code == int(wrong)
    assert {"python", "javascript", "sandbox", "gpu", "disk", "temporary files"} <= set(found)
