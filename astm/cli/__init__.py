"""The `astm` command."""
