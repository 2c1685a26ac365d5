"""Every command that reads datasets, on every hostile one: a finding or a typed error, little time, little memory."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile import HOSTILE, made

UNSEEN = {"staged_above"}
"""Hostile to `takedown` alone: `.cache` is no part of a dataset."""
BATCHES = [sorted(HOSTILE)[start::2] for start in range(2)]
MEMORY, SECONDS = 500 << 20, 10


@pytest.mark.slow
@pytest.mark.parametrize("names", BATCHES, ids=lambda names: names[0])
def test_what_commands_say(names: Sequence[str], tmp_path: Path) -> None:
    for name in ("sound", *names):
        made(name, tmp_path)
    command = [sys.executable, "-m", "tests.hostile", str(tmp_path), *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line for line in lines if "said" in line]
    peaks = {line["name"]: line["peak"] for line in lines if "peak" in line}
    assert peaks.keys() == {"sound", *names}
    assert [line for line in told if line["said"].startswith("untyped") or not line["victim"]] == []
    assert [line for line in told if line["seconds"] > SECONDS] == []
    sound = {line["name"] for line in told if line["command"] == "verify" and line["said"] == "sound"}
    assert sound - UNSEEN == {"sound"}
    assert max(peaks.values()) - peaks["sound"] < MEMORY


def test_there_are_enough() -> None:
    assert len(HOSTILE) >= 40
