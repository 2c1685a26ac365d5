"""What takes long to start is started once: an S3 server, a Ray cluster of two nodes."""

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


@dataclass
class Nodes:
    """A Ray cluster: a head that works on nothing, and two nodes of one CPU."""

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
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=100 << 20))


@pytest.fixture(scope="session")
def nodes(bucket):
    """The cluster, this process connected to it; tests that use it are in one group, so that there is one cluster."""
    from ray.cluster_utils import Cluster

    from collection.executors.ray import Ray, joined

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    logging.getLogger("ray").setLevel(logging.ERROR)
    head = {"num_cpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    found = Nodes(Cluster(initialize_head=True, head_node_args=head), [])
    try:
        found.mend()
        ray = joined(Ray(2, found.address))
        yield found
        ray.shutdown()
    finally:
        found.cluster.shutdown()
