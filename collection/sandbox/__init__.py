"""A child process that can harm nobody."""
