"""What a shot detector is, and how one is made from its name and the recipe's options."""

import inspect
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Protocol

from collection.detectors.thumbs import Thumb
from mlst.records import Transition
from mlst.registry import Registry

Option = float | int | str | bool


class Detector(Protocol):
    """Finds the transitions of one video, seeing each frame once and in order.

    Transitions come in order and do not overlap. Time is the frame's ordinal alone, so variable frame rate changes
    nothing.
    """

    delay: int
    """A transition that begins at frame f is reported, at the latest, by the `push` of frame f + `delay`.

    So frame f is decided once frame f + `delay` was pushed; what begins later cannot touch it.
    """

    def push(self, thumb: Thumb) -> list[Transition]:
        """The transitions that this frame makes certain."""

    def finish(self) -> list[Transition]:
        """Those that the end of the video makes certain; called once, after the last `push`."""


detector: Registry[Callable[..., Detector]] = Registry("detector")
"""Factories `(rate, *, option=default, ...) -> Detector`; their keyword arguments are the options of the recipe."""


def make_detector(name: str, options: Mapping[str, Option], rate: Fraction) -> Detector:
    """The detector registered as `name` for a video of `rate` frames per second.

    Raises ValueError, with the choices and defaults, for an unknown name, an unknown option or a value that does not
    fit.
    """
    if name not in detector:
        raise ValueError(f"unknown detector {name!r}; choices are {', '.join(detector)}")
    defaults = options_of(name)
    for key, value in options.items():
        if key not in defaults:
            raise ValueError(f"unknown option {key!r} of detector {name!r}; {_listing(defaults)}")
        if not _fits(value, defaults[key]):
            kind = type(defaults[key]).__name__
            raise ValueError(f"option {key} of detector {name!r} must be {kind}, got {value!r}; {_listing(defaults)}")
    try:
        return detector[name](rate, **options)
    except ValueError as why:
        raise ValueError(f"detector {name!r}: {why}; {_listing(defaults)}") from why


def options_of(name: str) -> dict[str, Option]:
    """The options of a detector with their defaults, in the order they are documented."""
    parameters = inspect.signature(detector[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _fits(value: Option, default: Option) -> bool:
    if type(default) is float:
        return type(value) in (int, float)
    return type(value) is type(default)


def _listing(defaults: Mapping[str, Option]) -> str:
    if not defaults:
        return "it has no options"
    return "options and defaults are " + ", ".join(f"{key} = {value!r}" for key, value in defaults.items())
