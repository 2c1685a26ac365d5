"""Options that come together: a command names a group as one parameter, and users give its options one by one."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any


def ungrouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of its parameters that are dataclasses."""
    groups = {
        name: one.annotation
        for name, one in inspect.signature(command).parameters.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }

    @wraps(command)
    def flat(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    flat.__signature__ = inspect.Signature(list(_options(command)))  # type: ignore[attr-defined]
    flat.__annotations__ = {one.name: one.annotation for one in _options(command)}
    return flat


def _options(command: Callable[..., None]) -> Iterator[Parameter]:
    """Its parameters, with those of a group in the group's place."""
    for one in inspect.signature(command).parameters.values():
        if not (isinstance(one.annotation, type) and is_dataclass(one.annotation)):
            yield one.replace(kind=Parameter.KEYWORD_ONLY)
            continue
        for field in fields(one.annotation):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
