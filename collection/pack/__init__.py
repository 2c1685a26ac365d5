"""Chosen clips -> shards, and the dataset around them."""
