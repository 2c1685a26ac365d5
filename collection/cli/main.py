"""Entry point of the `mlst` command."""

import sys

from mlst.exits import leave_at_signals


def main() -> None:
    """Import the commands and run the one that was asked for. Workers do not import the script that calls it."""
    leave_at_signals()
    _forget_script()
    from collection.cli.commands import app

    app()


def _forget_script() -> None:
    """`multiprocessing` has every process that it starts run the main program again, unless that has neither a name
    nor a file: with this module and what it imports 40 ms of each worker."""
    script = sys.modules["__main__"]
    script.__spec__ = None
    vars(script).pop("__file__", None)
