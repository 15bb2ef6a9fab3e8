"""Input files as they are read: on this machine and in buckets, as they lie there or decompressed."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from itertools import islice

from lading import buckets
from lading.batch.files import InputFile
from lading.batch.formats.base import Source
from lading.batch.gunzip import gunzip
from lading.errors import Conflict, NotFound, StorageError
from lading.storage import is_remote, local_path

LOCAL_PIECE, BUCKET_PIECE = 4 << 20, 8 << 20
"""Bytes that are read at once: what is in a bucket takes its time to begin."""
AHEAD = 2
"""So many pieces are fetched from a bucket while one is used."""
_GZIP = ".gz"


def open_source(file: InputFile) -> Source:
    """See ``lading.batch.files.open_source``."""
    return BucketSource(file) if is_remote(file.uri) else LocalSource(file)


class LocalSource:
    """A file on this machine; every read sees whether it is still the one that was planned."""

    def __init__(self, file: InputFile) -> None:
        self.name = file.uri
        self.size = file.size
        self.consumed = 0
        self._file = file
        self._path = local_path(file.uri)

    def stream(self, start: int = 0) -> Iterator[bytes]:
        """See ``Source``."""
        self.consumed = 0
        if not self.name.endswith(_GZIP):
            yield from self._pieces(start)
        else:
            yield from _from(gunzip(self._pieces(0), self.name), start)

    def read_at(self, offset: int, length: int) -> bytes:
        """See ``Source``."""
        with self._opened() as file:
            return self._read(file, offset, length)

    def _pieces(self, start: int) -> Iterator[bytes]:
        with self._opened() as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            for offset in range(start, self.size, LOCAL_PIECE):
                piece = self._read(file, offset, LOCAL_PIECE)
                self.consumed = offset + len(piece)
                yield piece
            self._see(file)

    def _read(self, file: FileIO, offset: int, length: int) -> bytes:
        """So many bytes, or as many as there are."""
        wanted = max(0, min(length, self.size - offset))
        content = os.pread(file.fileno(), wanted, offset)
        while len(content) < wanted:
            more = os.pread(file.fileno(), wanted - len(content), offset + len(content))
            if not more:
                raise _changed(self.name)
            content += more
        self._see(file)
        return content

    def _see(self, file: FileIO) -> None:
        now = os.fstat(file.fileno())
        if (now.st_size, local_identity(now)) != (self.size, self._file.identity):
            raise _changed(self.name)

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        try:
            with self._path.open("rb", buffering=0) as file:
                self._see(file)
                yield file
        except FileNotFoundError as error:
            raise NotFound(f"{self.name} is gone since the run was planned") from error
        except OSError as error:
            raise StorageError(f"cannot read {self.name}: {error.strerror}") from error


class BucketSource:
    """An object; every request has its generation as the precondition."""

    def __init__(self, file: InputFile, *, patience_seconds: float = buckets.PATIENCE_SECONDS) -> None:
        self.name = file.uri
        self.size = file.size
        self.consumed = 0
        self._generation = int(file.identity.removeprefix(GENERATION))
        self._patience = patience_seconds

    def stream(self, start: int = 0) -> Iterator[bytes]:
        """See ``Source``. What was uploaded compressed (``Content-Encoding: gzip``) is decompressed too."""
        self.consumed = 0
        with buckets.kept():
            if self._encoding() == "gzip" or self.name.endswith(_GZIP):
                yield from _from(gunzip(self._pieces(0), self.name), start)
            else:
                yield from self._pieces(start)

    def read_at(self, offset: int, length: int) -> bytes:
        """See ``Source``."""
        wanted = max(0, min(length, self.size - offset))
        return self._fetch(offset, wanted) if wanted else b""

    def _pieces(self, start: int) -> Iterator[bytes]:
        for offset, piece in fetched(self._fetch, start, self.size):
            self.consumed = offset + len(piece)
            yield piece

    def _fetch(self, offset: int, length: int) -> bytes:
        with self._unchanged():
            return fetch(self.name, offset, length, generation=self._generation, patience_seconds=self._patience)

    def _encoding(self) -> str:
        """How the object was compressed, as its metadata say."""
        with self._unchanged(), buckets.blob(self.name) as blob:
            blob.reload(if_generation_match=self._generation, retry=buckets.retry(self._patience))
            return blob.content_encoding or ""

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        try:
            yield
        except Conflict as error:
            raise _changed(self.name) from error
        except NotFound as error:
            raise NotFound(f"{self.name} is gone since the run was planned ({error})") from error


GENERATION, MTIME = "generation:", "mtime:"
"""What an ``InputFile.identity`` begins with."""


def local_identity(status: os.stat_result) -> str:
    """See ``InputFile.identity``."""
    return f"{MTIME}{status.st_mtime_ns}"


def fetch(uri: str, offset: int, length: int, *, generation: int, patience_seconds: float) -> bytes:
    """Bytes of an object as it lies there.

    Raises:
        Conflict: the object is of another generation.
        NotFound, AccessDenied, StorageError: it cannot be read.
    """
    with buckets.blob(uri) as blob:
        content: bytes = blob.download_as_bytes(
            start=offset,
            end=offset + length - 1,
            raw_download=True,
            if_generation_match=generation,
            checksum=None,  # which Cloud Storage knows of whole objects only
            retry=buckets.retry(patience_seconds),
        )
    if len(content) != length:
        raise StorageError(f"{uri}: expected {length} bytes from {offset} on, received {len(content)}")
    return content


def fetched(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of what is far away, each with its offset; the next ones are under way while one is used."""
    ranges = ((offset, min(BUCKET_PIECE, end - offset)) for offset in range(start, end, BUCKET_PIECE))
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="batch-fetch") as pool:
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        try:
            for offset, length in islice(ranges, AHEAD):
                waiting.append((offset, pool.submit(read, offset, length)))
            while waiting:
                offset, piece = waiting.popleft()
                content = piece.result()
                for following, length in islice(ranges, 1):
                    waiting.append((following, pool.submit(read, following, length)))
                yield offset, content
        finally:
            for _, piece in waiting:
                piece.cancel()


def _from(pieces: Iterator[bytes], start: int) -> Iterator[bytes]:
    """What comes after so many bytes: compressed data has to be read from its beginning."""
    for piece in pieces:
        if start < len(piece):
            yield piece[start:] if start else piece
        start = max(0, start - len(piece))


def _changed(uri: str) -> StorageError:
    return StorageError(
        f"{uri} was changed since the run was planned. Put back what it was, or begin anew with --restart"
    )
