"""Records of CSV (RFC 4180): lines, unless a quoted field holds a newline."""

import re
from collections.abc import Iterable, Iterator

from lading.batch.formats.base import MOST_SHOWN
from lading.batch.formats.lines import Entry, Overlong, Rest, cut_lines
from lading.errors import InvalidInstance

_FIELD = re.compile(rb'"([^"]*(?:""[^"]*)*)"(,|\Z)|([^",][^,]*|)(,|\Z)')


def cut_records(pieces: Iterable[bytes], most: int) -> Iterator[tuple[Entry, int]]:
    """The records of a stream, and how many bytes each takes in it.

    Args:
        pieces: The stream, in pieces of any length.
        most: Bytes of a record; a longer one is an ``Overlong``.
    """
    rest = Rest(most)
    length, is_open = 0, False
    for line, taken in cut_lines(pieces, most):
        if not is_open and (isinstance(line, Overlong) or b'"' not in line):
            yield line, taken
            continue
        if length:
            rest.add(b"\n")
        length += taken
        if isinstance(line, Overlong):
            rest.add(line.head, length=taken)
            is_open = False
        else:
            rest.add(line)
            is_open = ends_open(line, is_open)
        if not is_open:
            yield rest.take("a record"), length
            length = 0
    if is_open:
        record = rest.take("a record")
        head = record.head if isinstance(record, Overlong) else record[:MOST_SHOWN]
        yield Overlong(head, "expected a quotation mark that ends a field, received the end of the file"), length


def ends_open(line: bytes, is_open: bool) -> bool:
    """Whether a line ends inside a quoted field.

    A field is quoted if it begins with a quotation mark; elsewhere in a field that is not quoted it means itself.

    Args:
        line: Without its newline.
        is_open: Whether it begins inside one.
    """
    at = 0 if is_open else _opening(line, 0)
    while at >= 0:
        closing = line.find(b'"', at)
        if closing < 0:
            return True
        at = closing + 1
        if line[at : at + 1] == b'"':
            at += 1
        else:
            at = _opening(line, at)
    return False


def _opening(line: bytes, at: int) -> int:
    """Behind the quotation mark that begins the next quoted field; -1 if there is none."""
    if at == 0 and line.startswith(b'"'):
        return 1
    found = line.find(b',"', at)
    return found + 2 if found >= 0 else -1


def split_record(record: bytes) -> list[bytes]:
    """The fields of a record, without their quotation marks.

    Raises:
        InvalidInstance: characters stand behind the closing quotation mark of a field, or it is not closed.
    """
    record = record.removesuffix(b"\r")
    if b'"' not in record:
        return record.split(b",")
    fields: list[bytes] = []
    at = 0
    while True:
        found = _FIELD.match(record, at)
        if found is None:
            raise InvalidInstance(
                f"expected a comma behind the closing quotation mark of field {len(fields) + 1}, or an end of it"
            )
        quoted, comma, plain, plain_comma = found.groups()
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
        if not (comma or plain_comma):
            return fields
        at = found.end()
