"""Shells complete the words of both commands: the scripts that they are given, and what they are answered."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from astm.cli import options
from astm.data import dataset
from astm.models import model
from astm.pretrained import bundled
from astm.training.settings import presets

ROOT = Path(__file__).parents[1]
MODULES = {"mlst": "collection", "astm": "astm"}


def asked(command: str, words: str = "", **variables: str) -> str:
    """What a command answers a shell; `words` are those typed so far."""
    start = f"import sys; sys.argv = ['{command}']; from {MODULES[command]}.cli.main import main; main()"
    env = {**os.environ, "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args", **variables}
    ran = subprocess.run(
        [sys.executable, "-c", start], env=env, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize(
    ("command", "words", "shell", "expected"),
    [
        ("mlst", "mlst build --exe", "zsh", '"--executor"'),
        ("mlst", "mlst manifest import list.csv --format k", "fish", "kinetics"),
        ("astm", "astm train convlstm --data mo", "fish", "moving_mnist"),
        ("astm", "astm train pred", "fish", "predrnn_v2"),
        ("mlst", "mlst build ", "zsh", "_files"),
    ],
)
def test_words_are_completed(command: str, words: str, shell: str, expected: str) -> None:
    assert expected in asked(command, words, **{f"_{command.upper()}_COMPLETE": f"complete_{shell}"})


def test_the_names_that_shells_are_offered_are_those_there_are() -> None:
    assert options.MODELS.split() == list(model)
    assert sorted(options.DATASETS.split()) == list(dataset)
    assert {name for data in dataset for name in presets(data)} <= set(options.PRESETS.split())
    assert options.READY.split() == ["copy_last", *bundled.names()]
    assert options.or_files(options.READY)("c") == ["copy_last"]
    assert options.or_files(options.READY)("") == []  # as zsh and bash then offer files


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_script_of_bash_completes_in_bash(tmp_path: Path) -> None:
    script = asked("mlst", _MLST_COMPLETE="source_bash")
    command = tmp_path / "mlst"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from collection.cli.main import main\nmain()\n"
    )
    command.chmod(0o755)
    typed = "COMP_WORDS=(mlst build --executor lo); COMP_CWORD=3; _mlst_completion mlst; echo ${COMPREPLY[@]}"
    ran = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{typed}"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout == "local\n"
