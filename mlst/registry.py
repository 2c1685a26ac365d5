"""One registry for everything that can be added by writing a file."""

from collections.abc import Callable, ItemsView, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Callable[..., object])


class Registry(Generic[T]):
    """Named functions or classes; registering is decorating, the name is the object's own.

    `kind` is the word that errors use, e.g. "statistic".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def __call__(self, entry: T) -> T:
        """Register under the object's own name, lower-cased; a second one with that name is refused."""
        return self.named(entry.__name__.lower())(entry)

    def named(self, name: str) -> Callable[[T], T]:
        """Register under another name than the object's own."""

        def register(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries = dict(sorted([*self._entries.items(), (name, entry)]))
            return entry

        return register

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise KeyError(f"unknown {self.kind} {name!r}; choices are {', '.join(self)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def items(self) -> ItemsView[str, T]:
        """Names and entries, by name."""
        return self._entries.items()

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)
