"""Cuts a stream of bytes into lines, and lines into blocks, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lading.batch.formats.base import MOST_BLOCK_BYTES, MOST_SHOWN, BadRow, Block

BOM = b"\xef\xbb\xbf"
"""UTF-8's byte order mark; spreadsheets write it, and it is no part of the first line."""


@dataclass(frozen=True)
class Overlong:
    """A line that is longer than a line may be; it was not kept."""

    head: bytes
    """Its beginning."""
    reason: str
    """Why it is a bad row."""


Entry = bytes | Overlong


class Rest:
    """The part of a line (or of a record of several lines) that has come so far; of an overlong one the beginning."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self._parts: list[bytes] = []
        self._is_cut = False
        self.length = 0

    def add(self, part: bytes, *, length: int = 0) -> None:
        """Append a part, or the beginning of one that has ``length`` bytes."""
        self.length += length or len(part)
        if self._is_cut:
            return
        self._parts.append(part)
        if self.length > max(self._most, MOST_SHOWN):
            self._parts = [b"".join(self._parts)[:MOST_SHOWN]]
            self._is_cut = True

    def take(self, what: str = "a line") -> Entry:
        """The whole, and begin anew."""
        whole, length = b"".join(self._parts), self.length
        self._begin()
        return whole if length <= self._most else overlong(whole, length, self._most, what=what)


def overlong(head: bytes, length: int, most: int, *, what: str = "a line") -> Overlong:
    """What stands for a line that is too long.

    Args:
        head: Its beginning, or all of it.
        length: In bytes.
        most: How many are allowed.
        what: Was expected: ``a line``, ``a record``.
    """
    return Overlong(head[:MOST_SHOWN], f"expected {what} of at most {most} bytes, received {length}")


def cut_lines(pieces: Iterable[bytes], most: int) -> Iterator[tuple[Entry, int]]:
    r"""The lines of a stream, each without its ``\n``, and how many bytes it takes in the stream.

    A ``\r`` at the end stays; a missing final newline is no fault.

    Args:
        pieces: The stream, in pieces of any length.
        most: Bytes of a line; a longer one is an ``Overlong``, read in memory of this size.
    """
    rest = Rest(most)
    for piece in pieces:
        first, *others = piece.split(b"\n")
        rest.add(first)
        if not others:
            continue
        length = rest.length
        yield rest.take(), length + 1
        last = others.pop()
        for line in others:
            length = len(line)
            yield (line if length <= most else overlong(line, length, most)), length + 1
        rest.add(last)
    if rest.length:
        length = rest.length
        yield rest.take(), length


def cut_blocks(
    entries: Iterable[tuple[Entry, int]], *, start: int, row: int, most_rows: int, rows: Callable[[], list[Any]] = list
) -> Iterator[Block]:
    """Blocks of consecutive lines (or records).

    Args:
        entries: Each with the bytes that it takes.
        start: Offset of the first one.
        row: Its number.
        most_rows: Of a block.
        rows: Makes an empty list for a block's rows.
    """
    kept, size, first = rows(), 0, row
    for entry, length in entries:
        if kept and (len(kept) >= most_rows or size + length > MOST_BLOCK_BYTES):
            yield Block(start, start + size, first, row, kept, size)
            start, first, kept, size = start + size, row, rows(), 0
        kept.append(BadRow(row, entry.reason, show(entry.head)) if isinstance(entry, Overlong) else entry)
        size += length
        row += 1
    if kept:
        yield Block(start, start + size, first, row, kept, size)


def without_mark(entries: Iterator[tuple[Entry, int]]) -> Iterator[tuple[Entry, int]]:
    """The lines of a file from its beginning, without its byte order mark."""
    for entry, length in entries:
        yield (entry.removeprefix(BOM) if isinstance(entry, bytes) else entry), length
        break
    yield from entries


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but white space."""
    return not line or line.isspace()


def show(text: bytes) -> str:
    """A line as messages show it: its beginning, with what is no UTF-8 escaped."""
    return text[: 4 * MOST_SHOWN].removesuffix(b"\r").decode("utf-8", "backslashreplace")[:MOST_SHOWN]
