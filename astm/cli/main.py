"""Entry point of the `astm` command."""

from mlst.exits import leave_at_signals


def main() -> None:
    """Import the commands and run the one that was asked for."""
    leave_at_signals()
    from astm.cli.commands import app

    app()
