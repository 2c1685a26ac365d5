"""What pages claim: every setting of a recipe is explained, the tutorial's commands run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collection.recipe import Recipe, Settings

ROOT = Path(__file__).parents[2]


def settings(kind: type[Settings]) -> set[str]:
    """Names of all settings, those of the tables inside too."""
    inner = [field.annotation for field in kind.model_fields.values()]
    tables = [settings(table) for table in inner if isinstance(table, type) and issubclass(table, Settings)]
    return set(kind.model_fields).union(*tables) - {"fetch", "scan", "select", "pack"}


def test_every_recipe_setting_is_on_its_page():
    named = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/recipe.md").read_text()))
    assert settings(Recipe) - named == set()


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of a page's code blocks."""
    return re.findall(r"```(sh|python)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, package in (("mlst", "collection"), ("astm", "astm")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {package} "$@"\n')
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for language, code in blocks("docs/tutorial.md"):
        command = [sys.executable, "-c", code] if language == "python" else [shutil.which("bash"), "-euc", code]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{code}\n{ran.stdout}\n{ran.stderr}"
    assert (tmp_path / "first/predicted.mp4").stat().st_size > 0
