"""Cuts that are fitted before a build, and frozen."""

from pathlib import Path

import pytest

from mlst.levels import calibration
from mlst.levels.levels import DEFAULT, read_levels
from tests.collection.cli.test_main import RECIPE, recipe
from tests.collection.cli.test_upkeep import mlst

pytestmark = pytest.mark.slow


def test_a_build_fits_the_thresholds_that_are_not_there_yet_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "LEAST_SHOTS", 3)
    path = recipe(tmp_path, text='levels = "levels.toml"\n' + RECIPE)
    mlst("build", path, "--out", tmp_path / "data", "--calibrate-first", "--no-verify")
    levels = read_levels(tmp_path / "levels.toml")
    like = read_levels(DEFAULT)
    assert (levels.id, levels.s.column, levels.t.column) == ("tiny", like.s.column, like.t.column)
    assert levels.s.cuts != like.s.cuts
    assert set(levels.provenance.intervals) == {levels.s.column, levels.t.column}
    frozen = (tmp_path / "levels.toml").read_bytes()
    assert (tmp_path / "data" / "levels.toml").read_bytes() == frozen
    monkeypatch.setattr(calibration, "LEAST_SHOTS", 300)
    mlst("build", path, "--out", tmp_path / "data", "--calibrate-first", "--no-verify")
    assert (tmp_path / "levels.toml").read_bytes() == frozen


def test_too_small_a_corpus_and_thresholds_of_mlst_are_refused(tmp_path: Path) -> None:
    path = recipe(tmp_path, text='levels = "levels.toml"\n' + RECIPE)
    _, said = mlst("build", path, "--out", tmp_path / "data", "--calibrate-first", status=2)
    assert "at least 300 shots" in said
    assert not (tmp_path / "levels.toml").exists()
    path.write_text(f'levels = "{DEFAULT}"\n' + RECIPE, encoding="utf-8")
    _, said = mlst("build", path, "--out", tmp_path / "data", "--calibrate-first", status=2)
    assert 'set levels = "levels.toml"' in said
