"""Lists of sources: the manifest's table, and importers that make one of other lists."""
