"""The README's code runs as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippet(code, tmp_path):
    shutil.copytree(tiny.built(), tmp_path / "out" / "demo")
    level = next(path.name for path in sorted((tmp_path / "out/demo/data").iterdir()) if list(path.glob("train-*")))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    # The tiny dataset has other levels than the demo, and six frames a clip.
    code = code.replace("s0t1", level).replace("past=10, horizon=20", "past=2, horizon=4")
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.search("s[012]t[012]|moving_mnist", ran.stdout)
