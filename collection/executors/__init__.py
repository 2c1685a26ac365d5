"""Where items are worked on: `local` on this machine, `ray` on this machine or a cluster."""

from collection.executors.local import Local
from collection.executors.ray import Ray
from mlst.registry import Registry

__all__ = ["Local", "Ray", "executor"]

executor: Registry[type[Local] | type[Ray]] = Registry("executor")
executor(Local)
executor(Ray)
