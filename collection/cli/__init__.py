"""The `mlst` command."""
