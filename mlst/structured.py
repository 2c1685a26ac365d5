"""YAML and TOML from strangers, within bounds: reading a few hundred bytes may otherwise take gigabytes or overflow.

Nothing is evaluated, nothing refers to another place of the text, and what comes back is made of dicts, lists, texts,
numbers of 64 bits and booleans alone.
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 18
"""Bytes of a text. A card's front matter has 20 kB, a recipe or a file of thresholds about 1 kB."""
DEEPEST = 20
"""Levels of nesting; a card has 7."""
DOTS = 200
"""In a line of TOML: `tomllib` takes minutes for a key of very many parts."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same as `safe_load`, in C where libyaml is there: 9 times faster."""


class StructureError(ValueError):
    """A text that is not of its format, or beyond the bounds; the text says where and why."""


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises `StructureError` also for aliases, a key twice in a mapping, and tags of types
    that JSON does not have."""
    _check_size(len(text.encode("utf-8", "replace")))
    try:
        _check_events(text)
        value = yaml.load(text, _Once)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as why:
        raise StructureError(" ".join(str(why).split())[:300]) from None
    _check_values(value)
    return value


def read_toml(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a TOML file, and their table. Raises `StructureError`, or OSError."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    return data, parse_toml(data)


def parse_toml(data: bytes) -> dict[str, Any]:
    """The table in a TOML text. Raises `StructureError`. Dates stay what `tomllib` makes of them."""
    _check_size(len(data))
    try:
        text = data.decode("utf-8")
        if max(line.count(".") for line in text.split("\n")) > DOTS:
            raise StructureError(f"a line with more than {DOTS} dots")
        value = tomllib.loads(text)
    except (ValueError, RecursionError) as why:
        raise StructureError(str(why)[:300]) from None
    _check_values(value)
    return value


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise StructureError(f"more than {LARGEST} bytes")


def _check_events(text: str) -> None:
    """Refuse aliases and deep nesting while the text is read, before anything is made of it."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise StructureError(f"an alias, {str(event.anchor)[:50]!r}; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise StructureError(f"nested deeper than {DEEPEST} levels")


class _Once(LOADER):  # type: ignore[misc]
    """Refuses duplicate keys, of which PyYAML would take the last and the Hub none."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"duplicate key {twice[0]!r}")
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _check_values(value: Any) -> None:
    """Refuse what a report of it could not show: deep nesting, numbers beyond 64 bits, other types."""
    left = [(value, 0)]
    while left:
        one, depth = left.pop()
        if depth > DEEPEST:
            raise StructureError(f"nested deeper than {DEEPEST} levels")
        if isinstance(one, dict):
            if odd := [key for key in one if not isinstance(key, str)]:
                raise StructureError(f"the key {str(odd[0])[:50]!r} is not a text")
            left += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            left += [(inner, depth + 1) for inner in one]
        elif isinstance(one, int) and not -(1 << 63) <= one < 1 << 63:
            raise StructureError("a number of more than 64 bits")
        elif isinstance(one, bytes | set | tuple):
            raise StructureError(f"a value of the type {type(one).__name__}")
