"""Streams of bytes in pieces: measured and checked on their way."""

import hashlib
import io
from collections.abc import Generator, Iterator

from lading.errors import StorageError
from lading.oci.store import Blob

PIECE_BYTES = 1 << 20
"""Large enough that a piece costs far less than what is done with it, small enough for any memory."""


class Checksum:
    """The digest of what has passed so far."""

    def __init__(self) -> None:
        self._hashed = hashlib.sha256()

    def over(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Hand the pieces on, and count them in."""
        for piece in pieces:
            self._hashed.update(piece)
            yield piece

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex digits."""
        return f"sha256:{self._hashed.hexdigest()}"


def pieces_of(blob: Blob) -> Iterator[bytes]:
    """Read a blob from its first byte to its last.

    Raises:
        StorageError: it cannot be read, or is longer or shorter than it should be: something changed it meanwhile.
    """
    digest, size = blob.descriptor.digest, blob.descriptor.size
    left = size
    try:
        with blob.open() as reader:
            while piece := reader.read(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
    except OSError as error:
        raise StorageError(f"blob {digest} cannot be read: {error}") from error
    if left:
        came = "more" if left < 0 else f"{size - left}"
        raise StorageError(f"blob {digest}: expected {size} bytes, read {came}: did a file change meanwhile?")


class PieceReader(io.RawIOBase):
    """A file over pieces that are made as it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, none at the end; without a size all that is left."""
        if size < 0:
            return self._rest + b"".join(self._pieces)
        piece = self._rest or next(self._pieces, b"")
        self._rest = piece[size:]
        return piece[:size]

    def close(self) -> None:
        """End the generator behind it too: it may hold a file or a connection."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()
        super().close()
