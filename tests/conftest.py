"""Which tests `make quick` leaves out: those marked slow, and by themselves all that use a heavy fixture."""

HEAVY = {"bucket", "nodes", "plain", "story"}
"""Fixtures: an S3 server, a Ray cluster, a whole build, a release that is killed and resumed."""


def pytest_collection_modifyitems(items):
    """Mark as slow whatever uses a heavy fixture, also through another one."""
    for item in items:
        groups = {mark.args[0] for mark in item.iter_markers("xdist_group")}
        if HEAVY & set(item.fixturenames) or "ray" in groups:
            item.add_marker("slow")
