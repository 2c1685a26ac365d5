"""What a worker may do to its machine: little.

Every worker has limits of the kernel: CPU time, no core dumps, and address space where its stage says so. A worker
whose stage needs no network, such as the one that decodes a stranger's video, is confined in addition
(`mlst.sandbox.kernel`), may open no more than `limits.OPEN_FILES` files, none above `limits.FILE_BYTES`, and keeps
nothing that was open but the pipe for its answer, and one to read in which nothing comes but the end of its driver.
"""

from collections.abc import Container

from collection.engine.stage import Needs
from mlst.sandbox import kernel
from mlst.sandbox.descriptors import forget
from mlst.sandbox.kernel import Room
from mlst.sandbox.limits import limit, limit_files


def confine(needs: Needs, room: Room, kept: Container[int]) -> str:
    """Take away from this process what its stage does not need; `kept` are the open files that it goes on using.

    Gives "" where that was done in full, else what this machine lacks. Call it before the process starts threads.
    """
    limit(needs.seconds, needs.memory)
    if needs.network:
        return ""
    limit_files()
    forget(kept)
    return kernel.confine(room)
