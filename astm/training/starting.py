"""Weights to start from: of a run, checkpoint, saved model or Hub id, as far as they fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from astm.predictor import Predictor
from astm.pretrained.store import CheckpointError
from astm.training.checkpoint import load_predictor

NAMED = 5
"""Most tensors that a report names."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a model took of another one's weights."""

    source: str
    tensors: int
    """Taken, of so many that the model has:"""
    all_tensors: int
    values: int
    all_values: int
    fresh: tuple[str, ...]
    """Tensors that stay random, each with the reason."""
    unused: tuple[str, ...]
    """Tensors of the source that the model does not have."""

    def __str__(self) -> str:
        share = f"{self.tensors} of {self.all_tensors} tensors ({self.values / self.all_values:.1%} of the weights)"
        parts = [f"starts from {self.source}: {share}"]
        parts += [f"stay random: {_named(self.fresh)}"] if self.fresh else []
        parts += [f"not used: {_named(self.unused)}"] if self.unused else []
        return "; ".join(parts)


@torch.no_grad()
def start_from(predictor: Predictor, source: str) -> Taken:
    """Copy the weights whose names and shapes are the same.

    Parameters
    ----------
    source: whatever `load_predictor` takes, of any model.

    Raises
    ------
    CheckpointError: nothing there, or none of its weights fits.
    """
    given, own = load_predictor(source).state_dict(), predictor.state_dict()
    fits = [name for name in own if name in given and given[name].shape == own[name].shape]
    if not fits:
        raise CheckpointError(
            f"no tensor of {source} has name and shape of one of this model ({_named(tuple(own))}); take a checkpoint "
            f"of the same architecture"
        )
    for name in fits:
        own[name].copy_(given[name])
    fresh = [
        f"{name} ({tuple(own[name].shape)}, there {tuple(given[name].shape)})" if name in given else name
        for name in own
        if name not in fits
    ]
    return Taken(
        source=source,
        tensors=len(fits),
        all_tensors=len(own),
        values=sum(own[name].numel() for name in fits),
        all_values=sum(tensor.numel() for tensor in own.values()),
        fresh=tuple(fresh),
        unused=tuple(name for name in given if name not in own),
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
