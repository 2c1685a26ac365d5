"""`python -m collection`: the `mlst` command, also from a checkout that is not installed."""

from collection.cli.main import main

main()
