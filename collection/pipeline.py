"""The whole build, top to bottom."""
