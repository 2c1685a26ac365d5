"""Compiled twins of a few functions on arrays: the same results in a fraction of the time, where there is a compiler.

`pip install` compiles `mlst.native._kernels` if it can. Without it, or with MLST_NATIVE=0 in the environment, NumPy
and OpenCV do the work. Twins take what is frequent (dense bytes) and leave the rest, as codes of 10 bits, to
their plain function. `tests/mlst/native` compares the two: it never matters to a dataset which of them ran.
"""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from mlst.registry import Registry

try:
    from mlst.native import _kernels as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

F = TypeVar("F", bound=Callable[..., Any])

USED = compiled is not None and os.environ.get("MLST_NATIVE") != "0"
"""Whether the kernels are there and wanted."""

plain: Registry[Callable[..., Any]] = Registry("function with a compiled twin")
"""The plain functions, by the names of their twins."""


def twin(function: F) -> F:
    """The function, or its twin in `mlst.native._kernels`: that of the same name, called with the same arguments.

    A twin returns None for arrays that it does not take: the plain function is called with them. So it is where the
    module was compiled before there was this twin, as after an update of a checkout.
    """
    name = function.__name__.lstrip("_")
    plain.named(name)(function)
    kernel = getattr(compiled, name, None)
    if not USED or kernel is None:
        return function

    @wraps(function)
    def either(*args: Any) -> Any:
        found = kernel(*args)
        return function(*args) if found is None else found

    return cast(F, either)
