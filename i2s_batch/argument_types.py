"""Checks the types of what Python programs give: a value of another type is one clear line, not a TypeError later.

seed = typed("seed", seed, int)          NumPy's numbers become Python's; a bool is no number
check_fields(self)                       in the __post_init__ of a frozen dataclass, by the types of its fields
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from i2s_batch.errors import ConfigError

# What is taken for a value of a type, and the type in words.
_PLAIN: dict[Any, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a text"),
    NoneType: (NoneType, "None"),
}
_SEQUENCE, _MAPPING = get_origin(Sequence[str]), get_origin(Mapping[str, float])
_HINTS: dict[type[Any], tuple[tuple[str, Any], ...]] = {}  # the fields' types of each class that was checked
_IN_WORDS = {str: "texts", int: "whole numbers", float: "numbers"}


def typed(name: str, value: object, hint: Any) -> Any:
    """Return a value as the type `hint` has it.

    Raises:
        ConfigError: It is of no such type; the message has the `name`.
    """
    single = hint in _PLAIN or get_origin(hint) in (Literal, _SEQUENCE, _MAPPING, tuple) or not get_args(hint)
    kinds = (hint,) if single else get_args(hint)
    for kind in kinds:
        if _fits(value, kind):
            return kind(value) if kind in _PLAIN and value is not None else value
    wanted = " or ".join(_worded(kind) for kind in kinds)
    raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); it must be {wanted}")


def check_fields(value: object) -> None:
    """Give each field of a frozen dataclass its value as its type has it. Raises ConfigError as `typed`."""
    kind = type(value)
    if kind not in _HINTS:
        _HINTS[kind] = _hints(kind)
    for name, hint in _HINTS[kind]:
        given = getattr(value, name)
        plain = typed(name, given, hint)
        if plain is not given:
            object.__setattr__(value, name, plain)


def path_or_url(name: str, value: str | os.PathLike[str]) -> str:
    """Return a path or URL as text; ConfigError, with the argument's `name`, for what is neither."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(text := os.fspath(value), str):
        raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); give a path or a URL")
    return text


def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Return the names and types of a dataclass's fields."""
    names = {field.name for field in dataclasses.fields(kind)}
    return tuple((name, hint) for name, hint in get_type_hints(kind).items() if name in names)


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is _MAPPING:
        name_kind, number_kind = get_args(kind)
        return isinstance(value, Mapping) and all(
            _fits(name, name_kind) and _fits(number, number_kind) for name, number in value.items()
        )
    if get_origin(kind) not in (None, os.PathLike):
        return _is_sequence(value, get_args(kind)[0])
    if kind not in _PLAIN:
        return kind is Any or isinstance(value, get_origin(kind) or kind)
    if isinstance(value, bool):  # which is an Integral, too
        return kind is bool
    return isinstance(value, _PLAIN[kind][0])


def _is_sequence(value: object, kind: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(_fits(each, kind) for each in value)


def _worded(kind: Any) -> str:
    """Return a type in words."""
    if kind in _PLAIN:
        return _PLAIN[kind][1]
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is os.PathLike:
        return "a path"
    if get_origin(kind) is _MAPPING:
        return f"a mapping of names to {_IN_WORDS[get_args(kind)[1]]}"
    if get_origin(kind) is not None:
        inner = get_args(kind)[0]
        return f"a sequence of {_IN_WORDS.get(inner, getattr(inner, '__name__', str(inner)))}"
    return f"of type {kind.__name__}"
