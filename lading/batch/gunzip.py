"""Decompresses gzip as a stream, in bounded memory."""

import zlib
from collections.abc import Iterator

from lading.errors import InvalidData

_MOST_OUT = 1 << 20
_MOST_IN = 64 << 10
"""zlib copies what it has not looked at for each call."""
_GZIP_ONLY = 16 + zlib.MAX_WBITS


def gunzip(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The content of a gzip file, which may consist of several members one after the other.

    Zeros behind the last member are padding, as gzip(1) takes them. Source: RFC 1952, section 2.2.

    Args:
        pieces: Of the file.
        name: Of the file, for messages.

    Raises:
        InvalidData: it is damaged, or cut off; the content before was given.
    """
    member, at = zlib.decompressobj(_GZIP_ONLY), 0
    is_new = True  # nothing of the member was seen yet
    for piece in pieces:
        left = memoryview(piece)
        while left:
            if is_new and at and left[0] == 0:
                padding = len(left) - len(left.tobytes().lstrip(b"\0"))
                left, at = left[padding:], at + padding
                continue
            given = left[:_MOST_IN]
            try:
                content = member.decompress(given, _MOST_OUT)
            except zlib.error as error:
                raise InvalidData(f"{name} is damaged: expected gzip data at byte {at} ({error})") from error
            used = len(given) - len(member.unconsumed_tail) - len(member.unused_data)
            left, at, is_new = left[used:], at + used, member.eof
            if content:
                yield content
            if member.eof:
                member = zlib.decompressobj(_GZIP_ONLY)
    while content := member.decompress(b"", _MOST_OUT):
        yield content
    if at and not is_new and not member.eof:
        raise InvalidData(f"{name} is cut off: the gzip data has no end after {at} bytes. Was it copied wholly?")
