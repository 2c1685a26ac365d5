"""What a card says of a model: plain values, so that a card needs neither the model nor PyTorch."""

import inspect
from dataclasses import dataclass

from astm.pretrained.provenance import Origin, Paper


@dataclass(frozen=True, slots=True)
class ClipShape:
    """What one clip looks like to the model, in the example and where costs are counted."""

    past: int
    horizon: int
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Described:
    """A model in words and numbers."""

    model: str
    """Registered name."""
    summary: str
    """One paragraph."""
    text: str
    """Markdown: the paper, and where the code departs from it."""
    paper: Paper
    settings: tuple[tuple[str, str], ...]
    """Names and JSON values."""
    parameters: int
    macs: int
    """Multiply-accumulates to predict one `clip`."""
    clip: ClipShape
    takes: str
    """What frames must be like."""
    origin: Origin


def first_paragraph(documented: object) -> str:
    """Of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())
