"""Fréchet video distance (Unterthiner et al. 2018, https://arxiv.org/abs/1812.01717) as StyleGAN-V computes it
(https://github.com/universome/stylegan-v): features of an I3D network, before its softmax, of whole films.

The network is TorchScript, whose scaling, resizing and layers are in the file: it is a program, and loading it runs it
with the rights of the user. Films are given as 8-bit values from 0 to 255; it scales them and resizes to 224 x 224.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from astm.data.films import Film, Films
from astm.evaluation.evaluate import to_bytes
from astm.evaluation.predictions import paired
from astm.results import EvaluationError
from mlst.text import number_of

FEWEST = 10
"""Frames of a film: the network halves time four times."""

Network: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""(B, 3, T, H, W) in [0, 255] -> (B, features)."""


@dataclass(frozen=True, slots=True)
class Distance:
    """Of a set of predictions from the true films."""

    fvd: float
    films: int
    frames: int
    features: int


def read_network(file: Path, device: torch.device) -> Network:
    """Load, and so run, a TorchScript file. Raises `EvaluationError` where it is none; the network
    does so for films that it cannot take."""
    try:
        network: Any = torch.jit.load(str(file), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as why:
        raise EvaluationError(f"{file} is not a readable TorchScript file: {str(why).splitlines()[0][:200]}") from None

    def features(films: torch.Tensor) -> torch.Tensor:
        try:
            found: torch.Tensor = network(films.to(device), rescale=True, resize=True, return_features=True).flatten(1)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, AttributeError) as why:
            said = str(why).strip().splitlines()[-1][:200]
            raise EvaluationError(f"{file} does not take films as i3d_torchscript.pt does: {said}") from None
        if len(found) != len(films) or not found.isfinite().all():
            raise EvaluationError(f"{file} gives {tuple(found.shape)} of {len(films)} films, or no finite numbers")
        return found

    return features


@torch.no_grad()
def distance(truth: Films, predicted: Films, network: Network, progress: Callable[[int], None]) -> Distance:
    """From the last frames of each true film, as many as are predicted.

    Parameters
    ----------
    progress: called after each film with the number of films so far.

    Raises
    ------
    EvaluationError: as `paired`; fewer than two films, or films of fewer than 10 frames.
    """
    true, guessed, frames = list[NDArray[np.float64]](), list[NDArray[np.float64]](), 0
    for count, (film, guess) in enumerate(paired(truth, predicted), start=1):
        frames = len(guess)
        if not FEWEST <= frames <= len(film):
            raise EvaluationError(
                f"{predicted.place}: {number_of(frames, 'frame is', 'frames are')} predicted of "
                f"a film of {len(film)}, FVD needs {FEWEST} or more"
            )
        true.append(_features(film[-frames:], network))
        guessed.append(_features(guess, network))
        progress(count)
    if len(true) < 2:
        raise EvaluationError("FVD compares sets: give two films or more, better thousands")
    return Distance(frechet(np.stack(true), np.stack(guessed)), len(true), frames, len(true[0]))


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Fréchet distance of the normal distributions with the means and covariances of two sets (N, features).

    |m - n|^2 + tr(S) + tr(T) - 2 tr((S T)^(1/2)), covariances divided by N; the last trace is that of
    (S^(1/2) T S^(1/2))^(1/2), which is symmetric.
    """
    S, T = (np.cov(x, rowvar=False, ddof=0).reshape(x.shape[1], -1) for x in (a, b))
    values, vectors = np.linalg.eigh(S)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ T @ root).clip(0)).sum()
    return float(np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(S) + np.trace(T) - 2 * cross)


def _features(film: Film, network: Network) -> NDArray[np.float64]:
    eight = film if film.dtype == np.uint8 else to_bytes(torch.from_numpy(np.array(film)))
    colours = torch.from_numpy(np.array(eight)).float().expand(-1, 3, -1, -1)  # (T, 3, H, W)
    return network(colours.transpose(0, 1)[None])[0].cpu().numpy().astype(np.float64)
