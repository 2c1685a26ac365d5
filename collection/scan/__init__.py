"""Video -> Scan: shots, statistics and encoded clips in one decode."""
