"""Reads protobuf's wire format in a file, without protobuf.

Why not protobuf: the step that scans has none, and parsing builds the whole message in memory, several times the size
of the file, before the first question can be asked. Here a message is a span of a mapped file; only what is asked for
is decoded, and every field counts against a budget, so that no file makes the reader run, or grow, without end.

Source: https://protobuf.dev/programming-guides/encoding. Where a parser has a choice this one refuses: TensorFlow
writes no groups, no field number 0, no lengths beyond the end.
"""

import mmap
from collections.abc import Iterator

from lading.errors import InvalidModel

MAX_FIELDS = 20_000_000
"""A graph of 300,000 operations, more than any published model has, takes about 10 million."""
MAX_DEPTH = 100
"""protobuf's own limit of messages in messages (C++: ``CodedInputStream::SetRecursionLimit``)."""

Span = tuple[int, int]
"""Where something starts in the file, and where it ends."""

VARINT, FIXED = -1, -2
"""In the place of an end: the field is a number (which stands in the place of the start), or a float."""

_LONGEST_VARINT = 10


class Wire:
    """A serialized message.

    Args:
        data: All of it.
        source: What it is, for errors.
        max_fields: How many fields may be read in all.
    """

    def __init__(self, data: "mmap.mmap | bytes", source: str, *, max_fields: int = MAX_FIELDS) -> None:
        self.data = data
        self._source = source
        self._left = max_fields

    @property
    def whole(self) -> Span:
        """Everything."""
        return 0, len(self.data)

    def fields(self, span: Span) -> Iterator[tuple[int, int, int]]:
        """The fields of a message, in order.

        Yields:
            Field number, start and end of the content; for numbers the value and ``VARINT``; 0 and ``FIXED`` for
            32 and 64 bits.

        Raises:
            InvalidModel: this is no message, or the budget is used up; names the place.
        """
        data, (at, end) = self.data, span
        while at < end:
            start = at
            key = data[at]
            at += 1
            if key > 127:
                key, at = self._varint(start, end)
            number, kind = key >> 3, key & 7
            if kind == 2:
                size = data[at] if at < end else 128
                if size > 127:
                    size, at = self._varint(at, end)
                else:
                    at += 1
                content, at = at, at + size
                found = (number, content, at)
            elif kind == 0:
                value, at = self._varint(at, end)
                found = (number, value, VARINT)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
                found = (number, 0, FIXED)
            else:
                raise self._broken(start, f"a field of the wire type {kind}")
            if at > end:
                raise self._broken(start, f"a field that ends {at - end} bytes beyond its message")
            if not number:
                raise self._broken(start, "a field of the number 0")
            self._left -= 1
            if self._left < 0:
                raise InvalidModel(
                    f"{self._source}: gave up at byte {start}: it has more parts than can be looked at. No model that "
                    "is known has so many; if this one is meant to, split it"
                )
            yield found

    def spans(self, span: Span, number: int) -> Iterator[Span]:
        """The contents of the fields of a number that hold bytes; others of that number are no such fields."""
        return ((start, end) for found, start, end in self.fields(span) if found == number and end >= 0)

    def last(self, span: Span, number: int) -> Span | None:
        """The content of a field that is not repeated: of several the last counts, as in protobuf."""
        found = None
        for at, start, end in self.fields(span):
            if at == number and end >= 0:
                found = start, end
        return found

    def bytes(self, span: Span | None, *, most: int = 4096) -> bytes:
        """The first bytes of a span; empty for None."""
        if span is None:
            return b""
        return self.data[span[0] : min(span[1], span[0] + most)]

    def text(self, span: Span | None, *, most: int = 1024) -> str:
        """The first bytes of a span as text; what is no UTF-8 is replaced."""
        return self.bytes(span, most=most).decode(errors="replace")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        for place in range(at, min(end, at + _LONGEST_VARINT)):
            byte = self.data[place]
            value |= (byte & 127) << shift
            if byte < 128:
                return value, place + 1
            shift += 7
        raise self._broken(at, "a number that does not end")

    def _broken(self, at: int, what: str) -> InvalidModel:
        return InvalidModel(
            f"{self._source}: expected a SavedModel's protocol buffer, found at byte {at} {what}: the file is cut off "
            "or is something else; copy it again"
        )
