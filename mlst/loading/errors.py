"""What loading can refuse. Each takes one text, so that it crosses from a `DataLoader` worker with its type."""


class LoadError(ValueError):
    """A dataset that is not there or not ours, or settings that do not fit it; the message says what would do."""


class ReadError(OSError):
    """Bytes that could not be had: no such file, no network, no permission. Never skipped."""


class Missing(ReadError):
    """A file that is not there."""


class Changed(ReadError):
    """A dataset that was replaced or removed while it was being read."""


class CorruptClip(LoadError):
    """A clip whose bytes are not what the index says, or do not decode; the message names shard and key."""
