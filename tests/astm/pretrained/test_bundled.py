"""Checkpoints that come with the package: they load offline, say what they are, and still predict what they did."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from astm import ASTM, from_pretrained
from astm.metrics import metric
from astm.pretrained import bundled
from astm.pretrained.store import CheckpointError
from astm.training.checkpoint import load_predictor

STORED = Path(__file__).parent / "bundled"
"""For each checkpoint, what it predicted of `digits()` when it was released: a PNG of the 10 frames side by side."""


OFFLINE = """
import socket

def refuse(*_):
    raise OSError("the network was asked")

socket.socket.connect = socket.getaddrinfo = refuse
from astm import ASTM

print(ASTM.from_pretrained("moving-mnist-small").settings.layers)
"""


def digits():
    """(1, 20, 1, 64, 64): a 3 and a 7 of a plotter's font, 28 pixels high as those of MNIST, cross the picture."""
    film = np.zeros((20, 64, 64), np.uint8)
    for t in range(20):
        for text, (x, y), (dx, dy) in (("3", (4, 30), (1.5, 0.7)), ("7", (38, 60), (-1.2, -1.1))):
            place = (round(x + dx * t), round(y + dy * t))
            cv2.putText(film[t], text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 3, cv2.LINE_AA)
    return torch.from_numpy(film)[None, :, None].float() / 255


@pytest.mark.parametrize("name", bundled.names())
def test_predicts_what_it_did_when_it_was_released(name):
    model, frames = from_pretrained(name).eval(), digits()
    with torch.no_grad():
        predicted = model(frames[:, :10], 10).clamp(0, 1)
    strip = (predicted[0, :, 0] * 255).round().byte().numpy().transpose(1, 0, 2).reshape(64, -1)
    stored = cv2.imread(str(STORED / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    assert stored.shape == strip.shape
    assert np.abs(stored.astype(int) - strip).max() <= 2  # sums in another order, another convolution


@pytest.mark.parametrize("name", bundled.names())
def test_is_better_than_repeating_the_last_frame(name):
    model, frames = from_pretrained(name).eval(), digits()
    with torch.no_grad():
        error = metric["mse_sum"](model(frames[:, :10], 10), frames[:, 10:])
    still = metric["mse_sum"](frames[:, 9:10].expand(-1, 10, -1, -1, -1), frames[:, 10:])
    assert error.mean() < 0.8 * still.mean()


@pytest.mark.parametrize("name", bundled.names())
def test_is_small_and_says_how_it_was_made(name):
    folder = bundled.folder_of(name)
    assert (folder / "model.safetensors").stat().st_size <= 6_000_000
    training = json.loads((folder / "config.json").read_text())["training"]
    assert training["fingerprint"]
    assert 'name = "moving_mnist"' in training["recipe"]
    assert "seed = 0" in training["recipe"]
    card = (folder / "README.md").read_text()
    assert "mse_sum" in card
    assert str(training["step"]) in card


def test_the_sums_are_those_that_sha256sum_makes():
    folder = bundled.folder_of("moving-mnist-small")
    wanted = dict(reversed(line.split("  ")) for line in (folder / bundled.SUMS).read_text().splitlines())
    found = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir() if f.name != bundled.SUMS}
    assert found == wanted


def test_a_damaged_installation_is_told(tmp_path, monkeypatch):
    copy = shutil.copytree(bundled.FOLDER, tmp_path / "bundled")
    weights = copy / "moving-mnist-small" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(bundled, "FOLDER", copy)
    with pytest.raises(CheckpointError, match="damaged; install the package again"):
        from_pretrained("moving-mnist-small")


@pytest.mark.slow
def test_loads_by_name_without_a_network():
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_an_unknown_name_is_told_which_there_are():
    with pytest.raises(CheckpointError, match=r"nor a bundled checkpoint \(moving-mnist-small\)"):
        ASTM.from_pretrained("moving-mnist-big")
    assert load_predictor("moving-mnist-small").origin.data == "moving_mnist"
