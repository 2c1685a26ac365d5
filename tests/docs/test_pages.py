"""What pages claim: files that they name exist, the tutorial's commands run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in ROOT.glob("docs/*.md") if f": {page.name}\n" not in navigation] == []


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of a page's code blocks."""
    return re.findall(r"```(sh|python)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def room_names(room: Path) -> set[str]:
    """What the architecture page has to say of a room: its name, and its files where they are not listed elsewhere."""
    if not room.is_dir() or room.name in ("cli", "models"):
        return {room.name}
    return {f"{room.name}/"} | {path.stem for path in room.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("package", ["mlst", "collection", "astm"])
def test_architecture_prints_the_tree(package):
    page = (ROOT / "docs/architecture.md").read_text()
    tree = page.split(f"\n{package}/ ")[1].split("\n\n")[0].split("```")[0]
    rooms = [room for room in (ROOT / package).iterdir() if room.is_dir() or room.suffix == ".py"]
    names = set().union(*(room_names(room) for room in rooms if not room.name.startswith("__")))
    assert names - set(re.findall(r"[\w.]+/?", tree)) - {"cli", "models"} == set()


PATH = re.compile(r"`((?:mlst|collection|astm|tests|benchmarks|docs|manifests)/[\w./-]*\w/?)`")


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name)
def test_named_files_exist(page):
    assert [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


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
