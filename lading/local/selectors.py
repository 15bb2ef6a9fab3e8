"""Which objects of a list are meant: label selectors and field selectors.

Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

import re
from collections.abc import Iterable

from lading.errors import InvalidInput
from lading.local.objects import Object

_SET = re.compile(r"([^\s,()!=]+)\s+(in|notin)\s+\(([^()]*)\)")
_EQUAL = re.compile(r"([^\s,()!=]+)\s*(==|=|!=)\s*([^\s,()!=]*)")
_EXISTS = re.compile(r"(!?)\s*([^\s,()!=]+)")
_COMMA = re.compile(r",(?![^()]*\))")  # not within parentheses
_FIELDS = ("metadata.name", "metadata.namespace")


def select(items: Iterable[Object], *, labels: str, fields: str) -> list[Object]:
    """The objects that match both selectors; an empty selector matches all.

    Args:
        items: The objects.
        labels: For instance ``serving.knative.dev/service = shop,stage in (a, b)``.
        fields: ``metadata.name=shop``; also ``metadata.namespace``.

    Raises:
        InvalidInput: a selector is malformed.
    """
    by_label, by_field = _requirements(labels), _requirements(fields)
    for name, _, _ in by_field:
        if name not in _FIELDS:
            raise InvalidInput(f"expected a field selector on {' or '.join(_FIELDS)}, received {name!r}")
    return [
        item
        for item in items
        if all(_matches((item["metadata"].get("labels") or {}).get(name), verb, of) for name, verb, of in by_label)
        and all(_matches(item["metadata"][name.partition(".")[2]], verb, of) for name, verb, of in by_field)
    ]


def _requirements(text: str) -> list[tuple[str, str, frozenset[str]]]:
    """Each as ``(name, "in" | "notin" | "exists" | "!", values)``."""
    found = []
    for part in filter(None, (part.strip() for part in _COMMA.split(text))):
        if match := _SET.fullmatch(part):
            name, verb, values = match.groups()
            found.append((name, verb, frozenset(value.strip() for value in values.split(","))))
        elif match := _EQUAL.fullmatch(part):
            name, sign, value = match.groups()
            found.append((name, "notin" if sign == "!=" else "in", frozenset({value})))
        elif match := _EXISTS.fullmatch(part):
            found.append((match[2], "!" if match[1] else "exists", frozenset()))
        else:
            raise InvalidInput(f"expected a selector such as name=value or name in (a, b), received {part!r}")
    return found


def _matches(value: str | None, verb: str, of: frozenset[str]) -> bool:
    if verb in ("exists", "!"):
        return (value is not None) == (verb == "exists")
    return (value in of) == (verb == "in")
