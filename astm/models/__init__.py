"""Every model, one paper per file; importing this package fills the registry `model`."""

import importlib
import pkgutil
from pathlib import Path

from astm.predictor import Predictor, model

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["create", "from_pretrained", "model"]


def create(name: str, **settings: object) -> Predictor:
    """A new model of a registered name.

    >>> create("astm", tau=3, hidden=32)

    Raises
    ------
    KeyError: no model of this name; the message lists them.
    ValueError: an unknown setting or a bad value; the message names it and the choices.
    """
    return model[name].of(**settings)


def from_pretrained(source: str | Path, revision: str = "main") -> Predictor:
    """Whatever registered model `save_pretrained` wrote to a folder or the Hub; see `Predictor.from_pretrained`."""
    return Predictor.from_pretrained(source, revision)
