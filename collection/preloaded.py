"""What the fork server of `executors.local` imports and prepares, so that no worker does it again.

Imports and tables that first use would bring are brought here. All of it is then kept out of the garbage collector's
sight: a full collection in a worker writes to every page that holds an object, and so copies them all.
"""

import gc

import av.subtitles.stream  # noqa: F401 - PyAV imports it with the first file that it opens
import cv2
import numpy.ma  # noqa: F401 - NumPy imports it with the first covariance
import pydantic.dataclasses  # noqa: F401 - pydantic imports it with the first record that it reads

import collection.executors.local  # noqa: F401 - a worker begins in it
from collection.detectors.mixing import load_network
from collection.engine.stage import REJECTED, Outcome
from collection.fetch.stage import FetchStage
from collection.pack.stage import PackStage
from collection.sandbox.outcome import message, received
from collection.scan.stage import ScanStage
from mlst import records
from mlst.records import Probe
from mlst.sandbox import kernel

for kind in (Probe, FetchStage.output, ScanStage.output, PackStage.output):
    records.prepare(kind)
    received(message(Outcome("", REJECTED, "", "", ())), kind, "")
load_network()
kernel.prepare()
cv2.setNumThreads(1)
gc.collect()
gc.freeze()
