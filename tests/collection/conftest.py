"""What takes long to make is made once: an S3 server, a Ray cluster of two nodes, a dataset to compare with."""

import logging
import os
from dataclasses import dataclass

import pytest

from tests.s3_server import s3_server


@pytest.fixture(scope="session")
def bucket():
    """URL of a bucket on an S3 server; tests use names of their own in it."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """A dataset built in folders on this machine: its recipe, and the hashes of its files."""
    from collection import order as orders
    from collection.engine.run import Driver
    from collection.executors import Local
    from collection.fetch.ytdlp import Access
    from collection.pipeline import build
    from collection.workspace.folder import Workspace
    from tests.collection.cli.test_main import hashes, recipe
    from tests.collection.engine.stages import Quiet

    folder = tmp_path_factory.mktemp("plain")
    path = recipe(folder / "manifest")
    do = Driver(Workspace(folder / "work", ""), Local(2), Quiet(), retry=False, wave=9, keep_videos=False)
    build(orders.read_order(path, Access()), folder / "data", do)
    return path, hashes(folder / "data")


@dataclass
class Nodes:
    """A Ray cluster: a head that works on nothing, and up to two nodes of one CPU."""

    cluster: object
    workers: list

    @property
    def address(self):
        return self.cluster.address

    def kill(self):
        """Kill one of the nodes with everything that runs there, as a power cut would."""
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)

    def mend(self):
        """Have two nodes again."""
        while len(self.workers) < 2:
            self.workers.append(patiently(self.cluster.add_node, num_cpus=1, object_store_memory=100 << 20))


def patiently(make, *arguments, **options):
    """Call `make`, thrice if need be: Ray gives a node 30 s to start, which a busy machine may not manage."""
    for _ in range(2):
        try:
            return make(*arguments, **options)
        except Exception as why:
            if "timed out during startup" not in str(why):
                raise
    return make(*arguments, **options)


@pytest.fixture(scope="session")
def nodes(bucket):
    """The cluster, this process connected to it; tests that use it are in one group, so that there is one cluster.

    A test before may have killed a node; `two_nodes` has both.
    """
    from ray.cluster_utils import Cluster

    from collection.executors.ray import Ray, joined

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    logging.getLogger("ray").setLevel(logging.ERROR)
    head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    found = Nodes(patiently(Cluster, initialize_head=True, head_node_args=head), [])
    try:
        found.mend()
        ray = joined(Ray(2, found.address))
        yield found
        ray.shutdown()
    finally:
        found.cluster.shutdown()


@pytest.fixture
def two_nodes(nodes):
    """The cluster with two nodes that work."""
    nodes.mend()
    return nodes
