"""What an MLST dataset is: records, levels, statistics, shards, loading and verification.

Nothing heavy is imported here; `load` and `loader` bring torch with them when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlst.loading import load, loader

__all__ = ["__version__", "load", "loader"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("load", "loader"):
        from mlst import loading  # noqa: PLC0415, torch takes seconds to import

        return getattr(loading, name)
    raise AttributeError(f"module 'mlst' has no attribute {name!r}")
