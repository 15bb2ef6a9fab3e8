"""One JSON value out of a text that holds nothing else, as TensorFlow Serving reads it.

Three parsers, and the first that accepts decides: simdjson, but not for objects, as it keeps the last of repeated
names; Python's own, made as strict as RapidJSON, which reads ``NaN`` too; then ``lading.predict.rapidjson``, which
knows what no other does (``-NaN``, ``Inf``, bytes that are no UTF-8, any depth).
"""

import json
import math
import re
from typing import Any

import simdjson

from lading.errors import InvalidInstance
from lading.predict import rapidjson

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_value(text: bytes) -> Any:
    """The value of a text.

    Args:
        text: For instance a line of JSON Lines; white space around the value is allowed.

    Returns:
        As ``lading.predict.rapidjson.parse``; of repeated names the first counts. Integers beyond 64 bits are ``int``
        too, so that what is only carried along keeps its digits.

    Raises:
        InvalidInstance: it is no JSON, or more than one value.
    """
    if b"{" not in text:
        try:
            value = simdjson.Parser().parse(text)
            return value.as_list() if isinstance(value, simdjson.Array) else value
        except (ValueError, RuntimeError):
            pass
    if _SURROGATE.search(text) is None:  # Python lets half a pair pass
        try:
            return _DECODER.decode(text.decode())
        except (ValueError, RecursionError):
            pass
    text = text.removeprefix(_BOM)
    value = rapidjson.parse(text)
    if not _is_whole(text):
        raise InvalidInstance("JSON Parse error: expected one value, received more text behind it")
    return value


def _is_whole(text: bytes) -> bool:
    """Whether nothing stands behind the first value of a text, where RapidJSON's parser stops.

    What stands there would have to go on as a list and as an object: ``]`` ends only the one and ``}`` only the other,
    and behind a comma the one needs a value where the other needs a name and a colon.
    """
    try:
        return len(rapidjson.parse(b"[" + text + b"]")) == 1 and len(rapidjson.parse(b'{"":' + text + b"}")) == 1
    except InvalidInstance:
        return False


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else dict(reversed(pairs))


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("Number too big to be stored in double.")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_first_of_each, parse_float=_finite)
