"""A child process that cannot do harm."""
