"""An S3 server on loopback: moto's, for s3fs and whatever else speaks S3."""

import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
from moto.server import ThreadedMotoServer

BUCKET = "footage"


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an empty bucket; clients of this process and its children find the server by its environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # fsspec's clients keep the address of an earlier server
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()  # servers of a process share all
    try:
        files().mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    finally:
        server.stop()


def files() -> fsspec.AbstractFileSystem:
    """The store as the environment names it now, nothing remembered from before."""
    return fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
