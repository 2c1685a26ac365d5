"""`python -m astm`: the `astm` command, also from a checkout that is not installed."""

from astm.cli.main import main

main()
