"""The objects below a prefix of a bucket, written under preconditions, so that every request may be sent again.

A request whose answer was lost is refused when it is sent again: it is known by a mark in the object's metadata.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from lading import buckets
from lading.batch.sources import fetch, fetched
from lading.errors import Conflict, NotFound

MOST_SOURCES = 32
"""Of one compose request: https://docs.cloud.google.com/storage/docs/composite-objects."""
PIECE_BYTES = 8 << 20
"""Larger content goes up in pieces of this size, in a resumable upload."""
_MARK = "lading-write"
_TYPE = "application/octet-stream"
_THREADS = 8
_MOST_TIMEOUT = 60.0  # seconds in which nothing comes; the library's own choice


class Objects:
    """Names are relative to the prefix.

    All methods raise NotFound (no such bucket), AccessDenied and StorageError (what Cloud Storage answers after it was
    asked for ``patience_seconds``); those that take a generation raise Conflict when the object has another one (0:
    there is one).
    """

    def __init__(self, uri: str, *, patience_seconds: float = buckets.PATIENCE_SECONDS) -> None:
        self.uri = uri.rstrip("/")
        self._bucket, prefix = buckets.split(self.uri)
        self._prefix = f"{prefix}/" if prefix else ""
        self._patience = patience_seconds

    def with_patience(self, seconds: float) -> "Objects":
        """The same objects, for requests that have to be answered sooner."""
        return Objects(self.uri, patience_seconds=seconds)

    def generation(self, name: str) -> int:
        """Of an object; 0 if there is none."""
        with buckets.opened(self._bucket, self._uri(name)) as bucket:
            found = bucket.get_blob(self._prefix + name, retry=self._retry())
            return int(found.generation) if found is not None else 0

    def read(self, name: str) -> tuple[bytes, int] | None:
        """An object's content and generation; None if there is none."""
        while True:
            with buckets.opened(self._bucket, self._uri(name)) as bucket:
                found = bucket.get_blob(self._prefix + name, retry=self._retry())
            if found is None:
                return None
            generation = int(found.generation)
            try:
                return self._range(name, 0, found.size, generation), generation
            except (Conflict, NotFound):
                continue  # it was replaced, or removed, in between

    def stream(self, name: str) -> Iterator[bytes]:
        """An object's content in pieces."""
        with buckets.kept():
            with buckets.opened(self._bucket, self._uri(name)) as bucket:
                found = bucket.get_blob(self._prefix + name, retry=self._retry())
            if found is None:
                raise NotFound(f"no object at {self._uri(name)}")

            def read(offset: int, length: int) -> bytes:
                return self._range(name, offset, length, found.generation)

            for _, piece in fetched(read, 0, found.size):
                yield piece

    def put(self, name: str, content: bytes, *, generation: int) -> int:
        """Write an object in one request; the new generation."""

        def write(blob: Any) -> None:
            timeout = min(self._patience, _MOST_TIMEOUT)
            blob.upload_from_string(
                content, _TYPE, if_generation_match=generation, retry=self._retry(), timeout=timeout
            )

        return self._write(name, write)

    def put_pieces(self, name: str, pieces: Iterable[bytes], *, generation: int) -> int:
        """Write an object of any size; it appears when all of it is there. The new generation."""
        reader = _Reader(pieces)
        first = reader.read(PIECE_BYTES)
        if len(first) < PIECE_BYTES:
            return self.put(name, first, generation=generation)

        def write(blob: Any) -> None:
            # Of unknown size: a resumable upload, in which a piece that got lost is sent again.
            blob.chunk_size = PIECE_BYTES
            blob.upload_from_file(
                _Reader(chain([first], reader)),
                content_type=_TYPE,
                if_generation_match=generation,
                retry=self._retry(),
            )

        return self._write(name, write)

    def compose(self, names: Sequence[str], to: str, *, generation: int) -> int:
        """Concatenate at most ``MOST_SOURCES`` objects, of which ``to`` may be one; the new generation."""

        def write(blob: Any) -> None:
            blob.content_type = _TYPE
            sources = [blob.bucket.blob(self._prefix + name) for name in names]
            blob.compose(sources, if_generation_match=generation, retry=self._retry())

        return self._write(to, write)

    def names(self, prefix: str) -> list[str]:
        """Of the objects whose name begins so, sorted."""
        with buckets.opened(self._bucket, self._uri(prefix)) as bucket:
            fields = "items(name),nextPageToken"
            listed = bucket.list_blobs(prefix=self._prefix + prefix, fields=fields, retry=self._retry())
            return sorted(blob.name[len(self._prefix) :] for blob in listed if not blob.name.endswith("/"))

    def remove(self, name: str, *, generation: int | None = None) -> None:
        """Delete an object; one that is not there is no error."""
        with buckets.opened(self._bucket, self._uri(name)) as bucket:
            try:
                bucket.blob(self._prefix + name).delete(if_generation_match=generation, retry=self._retry())
            except Exception as error:
                if not buckets.is_missing(error):
                    raise

    def each(self, call: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """What a call gives for each name, several at once."""
        with buckets.kept(), ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(call, names))

    def _write(self, name: str, write: Callable[[Any], None]) -> int:
        mark = uuid.uuid4().hex
        with buckets.opened(self._bucket, self._uri(name)) as bucket:
            blob = bucket.blob(self._prefix + name)
            blob.metadata = {_MARK: mark}
            try:
                write(blob)
            except Exception as error:
                if not buckets.is_conflict(error):
                    raise
                there = bucket.get_blob(self._prefix + name, retry=self._retry())
                if there is None or (there.metadata or {}).get(_MARK) != mark:
                    raise
                blob = there
            return int(blob.generation)

    def _range(self, name: str, offset: int, length: int, generation: int) -> bytes:
        if not length:  # there is no such range
            return b""
        uri = self._uri(name)
        return fetch(uri, offset, length, generation=generation, patience_seconds=self._patience)

    def _uri(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def _retry(self) -> Any:
        return buckets.retry(self._patience)


class _Reader:
    """A file to read from, made of pieces; as much of one as the library needs."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        """What was not read yet."""
        if self._held:
            yield self._held
        yield from self._pieces

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        have, length = [self._held], len(self._held)
        while length < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            have.append(piece)
            length += len(piece)
        content = b"".join(have)
        content, self._held = content[:size], content[size:]
        self._at += len(content)
        return content
