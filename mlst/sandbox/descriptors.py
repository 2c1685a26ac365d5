"""Open files that a process inherits: sockets, pipes of others, the terminal."""

import os
from collections.abc import Container
from pathlib import Path


def forget(kept: Container[int]) -> None:
    """Make every open file of this process, but those `kept`, an empty one to read and nowhere to write.

    Their numbers stay taken: an object that closes its file later closes nobody else's.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"):
        if int(name) not in kept and int(name) != nowhere:
            try:
                os.fstat(int(name))
            except OSError:  # the one that read the folder
                continue
            os.dup2(nowhere, int(name), inheritable=False)
    os.close(nowhere)
