"""How an MLST dataset is made: manifest, fetch, scan, select, pack, verify.

Nothing heavy is imported here; `build` brings what it needs with it when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collection.building import Finished, build

__all__ = ["Finished", "build"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from collection import building  # noqa: PLC0415, the whole build is behind it

        return getattr(building, name)
    raise AttributeError(f"module 'collection' has no attribute {name!r}")
