"""Fréchet video distance: the formula beside the closed form and SciPy's root, and a network of two features."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from astm.data.films import open_films
from astm.evaluation.fvd import distance, frechet, read_network
from astm.results import EvaluationError
from tests.astm.cli.test_main import run

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Means(torch.nn.Module):
    """Mean of the first frame and of the last one, as the network of StyleGAN-V is called."""

    def forward(self, x, rescale: bool = False, resize: bool = False, return_features: bool = False):
        if not (rescale and resize and return_features):
            raise RuntimeError("another call")
        return torch.stack([x[:, :, 0].mean(dim=(1, 2, 3)), x[:, 2, -1].mean(dim=(1, 2))], dim=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "means.pt"
    torch.jit.script(Means()).save(str(path))
    return path


def stack(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 1, 8, 8), np.uint8)


def test_the_distance_of_normal_distributions():
    a, b = np.random.default_rng(0).standard_normal((2, 50, 4)) * ([[[1]], [[2]]]) + [[[0]], [[1]]]
    S, T = np.cov(a.T, ddof=0), np.cov(b.T, ddof=0)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(S + T - 2 * sqrtm(S @ T).real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 3) == pytest.approx(4 * 9)
    few = a[:2]  # covariances of rank 1
    assert frechet(few, few + 1) == pytest.approx(4)


def test_the_last_frames_are_compared(tmp_path, network):
    true = stack(3)
    np.save(tmp_path / "truth.npy", true)
    np.save(tmp_path / "theirs.npy", np.float32(true[:, 2:] / 255.0))
    np.save(tmp_path / "others.npy", np.float32(true[:, 2:] / 255.0).clip(0, 0.5))
    asked = ("fvd", tmp_path / "truth.npy", tmp_path / "theirs.npy", "--network", network, "--json", "--device", "cpu")
    refused = run(*asked)
    assert refused.exit_code == 2
    assert "is a program that would run with your rights; if you trust it, --run-network" in refused.stderr
    found = json.loads(run(*asked, "--run-network").stdout)
    assert found == {"fvd": pytest.approx(0, abs=1e-6), "films": 3, "frames": 10, "features": 2}
    films = [open_films(tmp_path / name) for name in ("truth.npy", "others.npy")]
    means = [
        np.stack([x[:, 0].mean((1, 2, 3)), x[:, -1].mean((1, 2, 3))], 1)
        for x in (true[:, 2:], np.minimum(true[:, 2:], 128))
    ]
    measured = distance(*films, read_network(network, torch.device("cpu")), lambda count: None)
    assert measured.fvd == pytest.approx(frechet(*means), rel=1e-4)


def test_what_cannot_be_compared(tmp_path, network):
    (tmp_path / "no.pt").write_bytes(b"no program")
    with pytest.raises(EvaluationError, match="is not a readable TorchScript file"):
        read_network(tmp_path / "no.pt", torch.device("cpu"))
    loaded = read_network(network, torch.device("cpu"))
    for count, frames, why in ((3, 4, "4 frames are predicted of a film of 12, FVD needs 10"), (1, 10, "two films")):
        np.save(tmp_path / "truth.npy", stack(count))
        np.save(tmp_path / "theirs.npy", stack(count)[:, :frames])
        films = [open_films(tmp_path / name) for name in ("truth.npy", "theirs.npy")]
        with pytest.raises(EvaluationError, match=why):
            distance(*films, loaded, lambda count: None)


class Plain(torch.nn.Module):
    """A network that is called otherwise."""

    def forward(self, x):
        return x.mean(dim=(2, 3, 4))


class NoNumbers(torch.nn.Module):
    def forward(self, x, rescale: bool = False, resize: bool = False, return_features: bool = False):
        return x.mean(dim=(2, 3, 4)) / 0 * 0


@pytest.mark.parametrize(
    ("made", "why"), [(Plain(), "does not take films as i3d_torchscript.pt"), (NoNumbers(), "no finite numbers")]
)
def test_another_network_is_refused(tmp_path, made, why):
    torch.jit.script(made).save(str(tmp_path / "other.pt"))
    network = read_network(tmp_path / "other.pt", torch.device("cpu"))
    with pytest.raises(EvaluationError, match=why):
        network(torch.zeros(1, 3, 10, 8, 8))
