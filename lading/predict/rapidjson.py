"""Reads JSON as TensorFlow Serving does: RapidJSON 1.1.0 with kParseNanAndInfFlag, kParseStopWhenDoneFlag and
kParseIterativeFlag.

It is laxer than JSON (``NaN``, ``-Inf``, text behind the document, a byte order mark, a depth of a million), and where
a name is repeated the first counts. Slow: the fast parser of ``lading.predict.codec`` asks it for what that one
refuses. Error texts: rapidjson/error/en.h.
"""

import math
import re
from typing import Any

from lading.errors import InvalidInstance

_TOKEN = re.compile(
    rb"[ \t\n\r]*(?:"
    rb"(?P<mark>[\[\]{},:])"
    rb'|"(?P<text>[^"\\\x00-\x1f]*)"'
    rb"|(?P<number>-?(?:0|[1-9][0-9]*))(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    rb"|(?P<word>true|false|null|-?NaN|-?Infinity|-?Inf(?!i))"
    rb"|(?P<end>\Z)"
    rb"|(?P<other>.))",
    re.DOTALL,
)
_ESCAPED = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_ESCAPE = re.compile(rb"\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u(....)|(.))", re.DOTALL)
_PLAIN = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_WORDS: dict[bytes, Any] = {
    b"true": True, b"false": False, b"null": None, b"NaN": math.nan, b"-NaN": math.nan,
    b"Infinity": math.inf, b"Inf": math.inf, b"-Infinity": -math.inf, b"-Inf": -math.inf,
}  # fmt: skip
_BOM = b"\xef\xbb\xbf"
_MISSING = object()
_MOST_DEEP = 1_000_000
"""Levels; each takes 140 bytes while it is open, of a body that has one for it."""


def parse(body: bytes) -> Any:
    """The value of a document.

    Returns:
        Objects as ``dict``, arrays as ``list``, strings as ``str`` (bytes that are no UTF-8 as with
        ``surrogateescape``), integers of 64 bits as ``int``, other numbers as ``float``.

    Raises:
        InvalidInstance: with RapidJSON's reason and the offset in bytes.
    """
    return _Reader(body).read()


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = len(_BOM) if body.startswith(_BOM) else 0

    def read(self) -> Any:
        """The document; what stands behind it is ignored."""
        open_: list[tuple[Any, Any]] = []
        """The containers around the current one, each with the key under which it goes on."""
        value = self._value(empty="The document is empty.")
        while True:
            if isinstance(value, _Open):
                container: Any = {} if value.mark == b"{" else []
                first = b"}" if value.mark == b"{" else b"]"
                if self._peek() == first:
                    self._next()
                    value = container
                else:
                    if len(open_) == _MOST_DEEP:
                        raise self._wrong(f"Nested more than {_MOST_DEEP} levels deep.")
                    open_.append((container, self._key() if first == b"}" else _MISSING))
                    value = self._value()
                    continue
            if not open_:
                return value
            container, key = open_.pop()
            if key is _MISSING:
                container.append(value)
            else:
                container.setdefault(key, value)
            value = self._after(container, open_)

    def _after(self, container: Any, open_: list[tuple[Any, Any]]) -> Any:
        """The next value in a container, or the container if it ends here."""
        is_list = isinstance(container, list)
        mark = self._next()["mark"]
        if mark == b",":
            open_.append((container, _MISSING if is_list else self._key()))
            return self._value()
        if mark != (b"]" if is_list else b"}"):
            raise self._wrong(
                "Missing a comma or " + ("] after an array element." if is_list else "} after an object member.")
            )
        return container

    def _key(self) -> str:
        token = self._next()
        if token["text"] is None and token["other"] != b'"':
            raise self._wrong("Missing a name for object member.", token)
        key = self._text(token)
        if self._next()["mark"] != b":":
            raise self._wrong("Missing a colon after a name of object member.")
        return key

    def _value(self, empty: str = "Invalid value.") -> Any:
        token = self._next()
        if token["number"] is not None:
            return self._number(token)
        if token["text"] is not None or token["other"] == b'"':
            return self._text(token)
        if token["word"] is not None:
            return _WORDS[token["word"]]
        if token["mark"] in (b"{", b"["):
            return _Open(token["mark"])
        raise self._wrong(empty if token["end"] is not None else "Invalid value.", token)

    def _number(self, token: "re.Match[bytes]") -> int | float:
        following = self._body[self._at : self._at + 1]
        if following == b"." and not token["fraction"]:
            raise self._wrong("Miss fraction part in number.")
        if following in (b"e", b"E") and not re.search(rb"[eE]", token["fraction"]):
            raise self._wrong("Miss exponent in number.")
        # More than 20 digits are beyond 64 bits; int() would refuse thousands of them.
        if not token["fraction"] and len(token["number"]) <= 20:
            whole = int(token["number"])
            if -(2**63) <= whole < 2**64:
                return whole
        number = float(token["number"] + token["fraction"])
        if math.isinf(number):
            raise self._wrong("Number too big to be stored in double.", token)
        return number

    def _text(self, token: "re.Match[bytes]") -> str:
        raw = token["text"]
        if raw is None:
            matched = _ESCAPED.match(self._body, token.start("other"))
            if matched is None:
                raise self._wrong(self._why_no_string(token.start("other") + 1))
            self._at = matched.end()
            raw = _ESCAPE.sub(self._unescape, matched[1])
        return bytes(raw).decode("utf-8", "surrogateescape")

    def _unescape(self, escape: "re.Match[bytes]") -> bytes:
        high, low, single, plain = escape.groups()
        if plain is not None:
            return _PLAIN.get(plain, plain)
        if single is None:
            point = 0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00
        else:
            point = int(single, 16)
            if 0xD800 <= point < 0xE000:
                raise self._wrong("The surrogate pair in string is invalid.")
        return chr(point).encode()

    def _why_no_string(self, start: int) -> str:
        """What is wrong with the string that begins at ``start``."""
        rest = re.compile(rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*').match(self._body, start)
        self._at = rest.end() if rest else start
        wrong = self._body[self._at : self._at + 2]
        if wrong[:1] in (b"", b"\0"):
            return "Missing a closing quotation mark in string."
        if wrong == b"\\u":
            return "Incorrect hex digit after \\u escape in string."
        return "Invalid escape character in string."

    def _next(self) -> "re.Match[bytes]":
        token = _TOKEN.match(self._body, self._at)
        assert token is not None, "the pattern has an alternative for anything"
        self._at = token.end()
        return token

    def _peek(self) -> bytes | None:
        at = self._at
        mark: bytes | None = self._next()["mark"]
        self._at = at
        return mark

    def _wrong(self, reason: str, token: "re.Match[bytes] | None" = None) -> InvalidInstance:
        at = self._at if token is None else token.end() - len(token[0].lstrip())
        return InvalidInstance(f"JSON Parse error: {reason} at offset: {at}")


class _Open:
    """The beginning of an object or an array."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark
