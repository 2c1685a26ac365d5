"""Weights of another code base on their way to a model of ours: each taken once, none left unexplained."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from astm.models import create
from astm.predictor import Predictor
from astm.pretrained.store import CheckpointError, check_finite, load_weights


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where a weight of ours comes from."""

    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...]
    change: str
    """What was done to it; "" for nothing."""


@dataclass(frozen=True, slots=True)
class Left:
    """A weight of theirs that the model does not need."""

    theirs: str
    why: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A model with the weights of a foreign checkpoint, and how it got them."""

    predictor: Predictor
    model: str
    mapped: tuple[Mapped, ...]
    left: tuple[Left, ...]


class Draft:
    """A state dict of theirs that is being translated."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.ours: dict[str, Tensor] = {}
        self.mapped: list[Mapped] = []
        self.left: list[Left] = []

    def __contains__(self, name: str) -> bool:
        return name in self.weights

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight of theirs. Raises `CheckpointError` where it is missing."""
        return tuple(self.weight(name).shape)

    def weight(self, name: str) -> Tensor:
        """A weight of theirs. Raises `CheckpointError` where it is missing."""
        if name not in self.weights:
            raise CheckpointError(f"{name} is missing")
        return self.weights[name]

    def count(self, pattern: str) -> int:
        """How many there are of a list: one more than the greatest number in the first group of the pattern."""
        found = [int(match[1]) for name in self.weights if (match := re.match(pattern, name))]
        return max(found, default=-1) + 1

    def take(
        self, ours: str, theirs: str | Sequence[str], change: Callable[..., Tensor] = torch.clone, said: str = ""
    ) -> None:
        """A weight of ours is `change` of one or several of theirs, which `said` puts in words."""
        names = (theirs,) if isinstance(theirs, str) else tuple(theirs)
        self.ours[ours] = change(*map(self.weight, names))
        self.mapped.append(Mapped(ours, names, tuple(self.ours[ours].shape), said))

    def layer(self, ours: str, theirs: str) -> None:
        """Every weight of a layer whose parts have the same names in both codes."""
        parts = [name for name in self.weights if name.rpartition(".")[0] == theirs]
        if not parts:
            raise CheckpointError(f"{theirs}.weight is missing")
        for name in parts:
            self.take(ours + name.removeprefix(theirs), name)

    def leave(self, pattern: str, why: str) -> None:
        """Weights of theirs whose whole name matches are not needed."""
        self.left += [Left(name, why) for name in self.weights if re.fullmatch(pattern, name)]

    def model(self, name: str, settings: Mapping[str, object]) -> Imported:
        """The model, if every weight of theirs was taken or left. Raises `CheckpointError`."""
        known = {name for one in self.mapped for name in one.theirs} | {one.theirs for one in self.left}
        if unknown := sorted(self.weights.keys() - known):
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise CheckpointError(f"{name} does not have {', '.join(unknown[:5])}{more}")
        check_finite({name: self.weights[name] for one in self.mapped for name in one.theirs}, "the checkpoint")
        try:
            predictor = create(name, **settings)
        except ValueError as why:
            raise CheckpointError(str(why)) from None
        load_weights(predictor, self.ours, "the checkpoint")
        return Imported(predictor.eval(), name, tuple(self.mapped), tuple(self.left))


def reordered(theirs: str, ours: str) -> Callable[[Tensor], Tensor]:
    """Gates stacked along the first axis, from one order to another, spelt as words: "i f g o" -> "g i f o"."""
    places = [theirs.split().index(gate) for gate in ours.split()]

    def change(weight: Tensor) -> Tensor:
        parts = weight.chunk(len(places))
        return torch.cat([parts[place] for place in places])

    return change
