"""The commands and classes of docs/own-data.md run as they stand there."""

import re
import shlex
from pathlib import Path

import pytest

from astm.data import dataset
from tests.astm.cli.test_main import run

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
*MAKES, KIND = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = []
    for made, commands in zip(MAKES, COMMANDS, strict=True):
        exec(compile(made, "own-data.md", "exec"), {})  # noqa: S102
        for command in commands.splitlines():
            ran = run(*shlex.split(command)[1:])
            assert ran.exit_code == 0, ran.output
            printed.append(ran.output)
    assert "no truth to compare with" in printed[3]
    assert "| model | Waiting (3) | Walking (3) |" in printed[-1]
    assert {"predicted.mp4", "beyond.mp4", "results"} <= {path.name for path in tmp_path.iterdir()}
    Path("ramps.py").write_text(KIND)
    ran = run("train", "convlstm", "--data", "ramps:Ramps", "--out", "own", "train.batch_size=4", "train.steps=1")
    assert ran.exit_code == 0, ran.output
    dataset._entries.pop("ramps:Ramps")
