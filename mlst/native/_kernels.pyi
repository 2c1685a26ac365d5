"""Twins of the functions that `mlst.native.plain` lists: None for arrays that they do not take."""

from typing import Any

def __getattr__(name: str) -> Any: ...
