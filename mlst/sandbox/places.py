"""What every confined process may read: system libraries, the Python installation, the packages that are in use."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

LIBRARIES = (
    *("/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib"),
    *("/usr/local/lib64", "/nix/store", "/gnu/store"),
    *("/usr/share/zoneinfo", "/usr/share/locale", "/etc/ld.so.cache", "/etc/localtime"),
)
"""Of the system, with the time zones and locales that Python and C look up."""

KERNEL = (
    *("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/proc/self", "/proc/cpuinfo", "/proc/meminfo"),
    *("/proc/stat", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu", "/sys/devices/system/node"),
    "/sys/kernel/mm/transparent_hugepage",
)
"""What C libraries ask about this process, the processors and the memory."""

NOWHERE = Path(os.devnull)
"""Writable for everybody: libraries open it for writing while they are imported."""


def readable() -> list[Path]:
    """All that may be read without being named, but for what lies below something else of it. A folder that holds the
    user's home is never among it."""
    return list(_readable(str(Path.home()), len(sys.modules)))


@lru_cache(maxsize=1)
def _readable(home: str, modules: int) -> tuple[Path, ...]:
    """Kept until there are more modules: a fork that looks through all copies their pages, which takes it 4 ms."""
    del modules
    home = os.path.realpath(home)
    found = {*KERNEL, *map(_real, (*LIBRARIES, *_installation(), *_packages()))}
    return tuple(map(Path, _outermost(place for place in found if not _is_in(home, place))))


def _outermost(places: Iterable[str]) -> Iterator[str]:
    last = ""
    for place in sorted(places, key=lambda place: place.split("/")):
        if not last or not _is_in(place, last):
            last = place
            yield place


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


_real = cache(os.path.realpath)
"""Kept: there are hundreds of packages, and forks of this process ask for the same ones. Not for `KERNEL`: where
/proc/self leads depends on who asks."""


@cache
def _installation() -> tuple[str, ...]:
    """The standard library, packages installed for all or for this environment or user, and shared libraries."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places = [*named, *site.getsitepackages(), site.getusersitepackages()]
    places += [os.path.join(prefix, lib) for prefix in (sys.prefix, sys.base_prefix) for lib in ("lib", "lib64")]
    return tuple(filter(None, (*places, *os.environ.get("LD_LIBRARY_PATH", "").split(":"))))


def _packages() -> Iterator[str]:
    """Folders of the packages, and files of the modules, that are loaded and lie elsewhere: editable installations,
    and what PYTHONPATH or the working directory offers. The folders that they lie in are not among them."""
    for name, module in list(sys.modules.items()):
        if "." not in name:
            folders = list(getattr(module, "__path__", ()))
            yield from folders or filter(None, [getattr(module, "__file__", None)])
