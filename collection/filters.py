"""Clip filters: a function of the user's changes the pictures of every clip before it is encoded, to blur faces or
number plates for example. The toolkit has none of its own; docs/recipe.md says what such a function promises.

The recipe names it, `[scan] filter = "package.module:function"`. Its name, the `VERSION` of its module and the sha256
of the module's source are its identity, which decides what is scanned anew and is written into the dataset.
"""

import hashlib
import importlib
import pickle
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collection.engine.stage import Retry

Bytes = NDArray[np.uint8]
ClipFunction = Callable[[Bytes, Bytes, Bytes], tuple[Bytes, Bytes, Bytes]]
"""Y (T, S, S), U and V (T, S / 2, S / 2) of all frames of a clip -> the same shapes; 8 bit, limited range."""

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)


def unchanged(y: Bytes, u: Bytes, v: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """The planes as they are."""
    return y, u, v


@dataclass(frozen=True, slots=True)
class ClipFilter:
    """A filter that was found."""

    name: str
    """`package.module:function`; "" for none."""
    version: str
    sha256: str
    """Of the source of its module."""
    function: ClipFunction = field(compare=False, repr=False)

    @property
    def identity(self) -> str:
        """Name, version and hash, as datasets record them; "" for no filter."""
        return f"{self.name} {self.version} sha256:{self.sha256}" if self.name else ""


NO_FILTER = ClipFilter("", "", "", unchanged)


def find_filter(name: str) -> ClipFilter:
    """The filter that a recipe names; `NO_FILTER` for "". Raises ValueError, which says what is wrong with it."""
    if not name:
        return NO_FILTER
    if not NAME.fullmatch(name):
        raise ValueError(f"scan.filter = {name!r} names no function; write package.module:function")
    path, _, function = name.partition(":")
    try:
        module = importlib.import_module(path)
    except (Exception, SystemExit) as why:  # whatever the code of a stranger raises
        said = f"scan.filter: {path} cannot be imported: {type(why).__name__}: {why}"
        raise ValueError(f"{said}; install its package, or name its folder in PYTHONPATH") from None
    found, version, file = (getattr(module, what, None) for what in (function, "VERSION", "__file__"))
    if not callable(found):
        raise ValueError(f"scan.filter: {path} has no function {function!r}")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise ValueError(f'scan.filter: {path} states no version; give it VERSION = "1", and another when it changes')
    try:
        source = Path(str(file)).read_bytes()
        pickle.dumps(found)  # workers get it by its name
    except (OSError, pickle.PicklingError, AttributeError, TypeError) as why:
        raise ValueError(f"scan.filter: {name} has no source of its own, or is no plain function: {why}") from None
    return ClipFilter(name, version, hashlib.sha256(source).hexdigest(), found)


def filtered(frames: Sequence[Bytes], by: ClipFilter) -> Sequence[Bytes]:
    """The frames of a clip, each (S * 3 / 2, S) as `encode.fitted` makes them, through a filter.

    Raises `Retry`: `filter` where it fails, or gives anything but such planes.
    """
    if not by.name:
        return frames
    side = frames[0].shape[1]
    stack = np.stack(frames)
    chroma = stack[:, side:].reshape(len(frames), 2, side // 2, side // 2)
    given = (stack[:, :side].copy(), chroma[:, 0].copy(), chroma[:, 1].copy())
    shapes = [plane.shape for plane in given]
    try:
        planes = tuple(by.function(*given))
    except MemoryError:
        raise
    except (Exception, SystemExit) as why:
        at = traceback.extract_tb(why.__traceback__)[-1]
        detail = f"{by.name}: {type(why).__name__}: {why} ({Path(at.filename).name}:{at.lineno})"
        raise Retry("filter", detail) from None
    if [getattr(plane, "shape", None) for plane in planes] != shapes or any(p.dtype != np.uint8 for p in planes):
        told = [f"{getattr(p, 'dtype', type(p).__name__)} {getattr(p, 'shape', '')}".strip() for p in planes]
        raise Retry("filter", f"{by.name} gave {told}, not uint8 {shapes}")
    y, u, v = (plane.reshape(len(frames), -1) for plane in planes)
    return list(np.concatenate([y, u, v], axis=1).reshape(stack.shape))


def check_same(by: ClipFilter) -> None:
    """Raise `Retry` where this machine has another filter of that name than the one that the build began with."""
    try:
        here = find_filter(by.name)
    except ValueError as why:
        raise Retry("filter", str(why)) from None
    if here.identity != by.identity:
        raise Retry("filter", f"this worker has {here.identity}, the build began with {by.identity}")
