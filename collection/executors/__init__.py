"""Where items are worked on: `local` on this machine."""

from collection.executors.local import Local
from mlst.registry import Registry

executor: Registry[type[Local]] = Registry("executor")
executor(Local)
