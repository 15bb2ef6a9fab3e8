"""Options that are given as JSON: the members of an object become the fields of a frozen dataclass."""

import json
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from lading.errors import InvalidInput

O = TypeVar("O")  # noqa: E741

_KINDS: Mapping[Any, str] = {
    str: "str",
    bool: "bool",
    int: "int",
    tuple[str, ...]: "a list of strings",
    Mapping[str, str]: "an object of strings",
}
"""What an option may be, and how messages call it."""


def options_from_json(kind: type[O], text: str) -> O:
    """Read options from a JSON text.

    Args:
        kind: A dataclass whose fields are of the types ``str``, ``bool``, ``int``, ``tuple[str, ...]`` and
            ``Mapping[str, str]``, each with a default.
        text: A JSON object; an empty text is one without members.

    Raises:
        InvalidInput: it is none, or has a member that is no option, or one of another type; or what ``kind`` raises.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"expected options as a JSON object, received {text!r}: {error}") from error
    return options_from_members(kind, given)


def options_from_members(kind: type[O], given: object) -> O:
    """As ``options_from_json``, of what was parsed already."""
    if not isinstance(given, dict):
        raise InvalidInput(f"expected options as a JSON object, received {given!r}")
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := given.keys() - set(known):
        raise InvalidInput(f"no such option: {', '.join(sorted(unknown))} (there are: {', '.join(known)})")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(name, value, hints[name]) for name, value in given.items()})


def _value(name: str, value: Any, hint: Any) -> Any:
    # KFP has one kind of number: an int in a JSON text of its making may come as 4.0.
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint == tuple[str, ...]:
        right = isinstance(value, list) and _are_texts(value)
    elif hint == Mapping[str, str]:
        right = isinstance(value, dict) and _are_texts(value.values())
    else:
        right = type(value) is hint
    if not right:
        raise InvalidInput(f"expected {_KINDS[hint]} as the option {name}, received {value!r}")
    return tuple(value) if isinstance(value, list) else value


def _are_texts(values: typing.Iterable[Any]) -> bool:
    return all(isinstance(one, str) for one in values)
