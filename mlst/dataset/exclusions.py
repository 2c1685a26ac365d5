"""Sources that must not be used again, kept as salted hashes: the list can be passed on without naming anyone.

Whoever holds a list of candidates can still test each of them against it; the salt only keeps two datasets' lists from
being compared line by line.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlst.records import Source
from mlst.signed import public

HASH = re.compile(r"[0-9a-f]{64}")
SALT = re.compile(r"salt = ([A-Za-z0-9._-]{1,96})")
HEADER = "# Sources that must not be used: sha256 of the salt and the id or address, in UTF-8, sorted."


class ExclusionsError(ValueError):
    """A list of exclusions that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What `exclusions.txt` says."""

    salt: str
    hashes: frozenset[str]

    def excludes(self, source: Source) -> bool:
        """Whether the id of a source, or its address, is on the list."""
        return any(self._hash(name) in self.hashes for name in names(source))

    def holds(self, name: str) -> bool:
        """Whether an id or address is on the list."""
        return self._hash(name) in self.hashes

    def adding(self, sources: Iterable[Source]) -> "Exclusions":
        """The list with these sources too."""
        more = {self._hash(name) for source in sources for name in names(source)}
        return Exclusions(self.salt, self.hashes | more)

    def text(self) -> bytes:
        """The file; equal for equal lists."""
        return "".join(f"{line}\n" for line in (HEADER, f"salt = {self.salt}", *sorted(self.hashes))).encode()

    def _hash(self, name: str) -> str:
        return hashlib.sha256((self.salt + name).encode("utf-8", "surrogatepass")).hexdigest()


def names(source: Source) -> Iterator[str]:
    """What a source is known by: its id, and its address on the web, so that the same video under another id or
    another span of it is known too. A local path says nothing outside of its folder."""
    yield source.id
    if source.url.startswith(("http://", "https://")):
        yield public(source.url)


def parse_exclusions(data: bytes, name: str) -> Exclusions:
    """The list in the bytes of a file called `name`. Raises `ExclusionsError`."""
    try:
        lines = [line.strip() for line in data.decode("ascii").splitlines()]
    except UnicodeDecodeError:
        raise ExclusionsError(f"{name}: not ASCII text") from None
    said = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    salt = SALT.fullmatch(said[0][1]) if said else None
    if salt is None:
        raise ExclusionsError(f"{name}: the first line that is not a comment must be 'salt = NAME'")
    for number, line in said[1:]:
        if not HASH.fullmatch(line):
            raise ExclusionsError(f"{name}:{number}: {line[:70]!r} is not a sha256 of 64 hexadecimal digits")
    return Exclusions(salt[1], frozenset(line for _, line in said[1:]))
