"""Frozen dataclasses as JSON and back by their types; arrays go their own way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

_Made = TypeVar("_Made")
_CLASS = "is"
"""Key under which the class of a dataclass stands, which unions are told apart by."""
_Fetch = Callable[[Mapping[str, Any]], NDArray[Any]]


def to_json(value: object, set_aside: Callable[[NDArray[Any]], object]) -> Any:  # noqa: PLR0911 - one line a type
    """Write a value as what JSON has: text, numbers, lists, mappings.

    Args:
        value: Dataclasses, tuples, enumerations, moments, text, numbers, arrays.
        set_aside: Takes an array; returns what stands in its place.

    Raises:
        TypeError: something else is in it.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name), set_aside) for f in dataclasses.fields(value)}
        return {_CLASS: type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        return set_aside(value)
    if isinstance(value, tuple):
        return [to_json(one, set_aside) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"cannot write a {type(value).__name__}")


def from_json(kind: type[_Made], value: Mapping[str, Any], fetch: _Fetch) -> _Made:
    """Read a dataclass that `to_json` wrote.

    Args:
        kind: Which one.
        value: As written.
        fetch: Takes what stands in an array's place; returns the array.

    Raises:
        TypeError: a field has another type, or none of the class's names.
        KeyError: a field is missing.
        ValueError: an enumeration has no such member.
    """
    return cast(_Made, _read(kind, value, fetch))


def _read(kind: Any, value: Any, fetch: _Fetch) -> Any:  # noqa: PLR0911 - one line a type
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _read_one_of(get_args(kind), value, fetch)
    if origin is np.ndarray:
        return fetch(value)
    if origin is tuple:
        return _read_tuple(get_args(kind), value, fetch)
    if origin is Literal:
        return get_args(kind)[get_args(kind).index(value)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if value[_CLASS] != kind.__name__:
            raise TypeError(f"a {value[_CLASS]} stands where a {kind.__name__} belongs")
        return kind(**{name: _read(inner, value[name], fetch) for name, inner in _hints(kind).items() if name in value})
    if issubclass(kind, Enum):
        return kind(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    return _read_plain(kind, value)


def _read_plain(kind: type, value: object) -> object:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} stands where a {kind.__name__} belongs")
    return value


def _read_tuple(kinds: tuple[Any, ...], value: Any, fetch: _Fetch) -> tuple[Any, ...]:
    kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
    return tuple(_read(one, inner, fetch) for one, inner in zip(kinds, value, strict=True))


def _read_one_of(kinds: tuple[Any, ...], value: Any, fetch: _Fetch) -> Any:
    if value is None:
        return None
    chosen = [k for k in kinds if k is not type(None)]
    if len(chosen) > 1:
        chosen = [k for k in chosen if k.__name__ == value[_CLASS]]
    [kind] = chosen
    return _read(kind, value, fetch)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
