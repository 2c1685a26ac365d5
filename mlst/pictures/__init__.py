"""A clip's canonical picture, and fingerprints of it."""
