"""The files of a dataset: index, lock, shards, card and Croissant."""
