"""A source as libraries read files that they jump about in."""

import io

from lading.batch.formats.base import Source


class SourceFile(io.RawIOBase):
    """An open file, without a buffer of its own."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._source.size - self._at)
        data = self._source.read_at(self._at, left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        return data
