"""The 3x3 levels, flags that doubt them, and splits."""
