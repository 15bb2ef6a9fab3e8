"""The bytes of a layer as a stream: a tar of files, and the gzip around it, without a copy on disk.

The same files give the same bytes on every machine and at every reading: owner 0, modes 755 and 644, times 0, and
pieces that begin where a file does.
"""

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lading.errors import StorageError
from lading.oci.image import LAYER_TYPE, TAR_LAYER_TYPE

# RFC 1952: no name, time 0, no extra flags, unknown operating system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = 65535  # the most that one stored block holds: RFC 1951, 3.2.4
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # an empty one
PIECE_BYTES = 15 * _BLOCK
"""The most that is read at once: with its frames just under 1 MiB, which is what a socket is handed."""
GZIP_LEVEL = 6

Part = bytes | memoryview


@dataclass(frozen=True)
class File:
    """A file or directory that goes into a layer, as it was when it was looked at."""

    name: str
    """In the layer, relative to its root."""
    content: Path | bytes | None
    """Where its bytes are, or they themselves; None for a directory."""
    size: int = 0
    executable: bool = False
    changed_ns: int = 0
    """When it was last written to."""
    shared: bool = False
    """Of a directory: everybody may write into it, as into ``/tmp``."""


class Piece(NamedTuple):
    """Some bytes of a tar."""

    data: bytes
    file: File | None
    """Whose content they are; None for what is between the files."""


def look_at(name: str, path: Path) -> File:
    """A file on this machine, as it is now."""
    stat = path.stat()
    return File(name, path, stat.st_size, bool(stat.st_mode & 0o111), stat.st_mtime_ns)


def tar_pieces(files: tuple[File, ...]) -> Iterator[Piece]:
    """The tar of these files, in their order.

    Raises:
        StorageError: a file cannot be read, or is not what it was when it was looked at.
    """
    written = 0
    for file in files:
        header = _header(file)
        yield Piece(header, None)
        for data in _content(file):
            yield Piece(data, file)
        padding = -file.size % tarfile.BLOCKSIZE
        if padding:
            yield Piece(bytes(padding), None)
        written += len(header) + file.size + padding
    # Two empty blocks end a tar, and it is filled to a whole record: POSIX.1-2017, pax, "ustar Interchange Format".
    end = 2 * tarfile.BLOCKSIZE
    yield Piece(bytes(end + -(written + end) % tarfile.RECORDSIZE), None)


def _header(file: File) -> bytes:
    entry = tarfile.TarInfo(file.name)  # owner 0, no names, time 0
    entry.mode = 0o1777 if file.shared else 0o755 if file.executable or file.content is None else 0o644
    entry.type, entry.size = (tarfile.DIRTYPE, 0) if file.content is None else (tarfile.REGTYPE, file.size)
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(file: File) -> Iterator[bytes]:
    if file.content is None:
        return
    if isinstance(file.content, bytes):
        for start in range(0, file.size, PIECE_BYTES):
            yield file.content[start : start + PIECE_BYTES]
        return
    try:
        with file.content.open("rb") as opened:
            left = file.size
            while left:
                data = opened.read(min(left, PIECE_BYTES))  # so many, unless the file is shorter
                if not data:
                    break
                left -= len(data)
                yield data
            now = os.fstat(opened.fileno())
    except OSError as error:
        raise StorageError(f"cannot read {file.content}, which is to be packaged: {error.strerror}") from error
    if left or (now.st_size, now.st_mtime_ns) != (file.size, file.changed_ns):
        raise changed(file.content)


def changed(what: object) -> StorageError:
    """The error for files that are written to while they are packaged."""
    return StorageError(
        f"{what} was changed while it was packaged; nothing was tagged. Package again when nothing writes there"
    )


class StoredGzip:
    """A gzip of *stored* blocks, which no version of zlib can write differently; made for weights, which hardly shrink.

    Every piece begins a block of its own, so that nothing has to be kept back.
    """

    media_type = LAYER_TYPE

    def __init__(self) -> None:
        self._crc = self._size = 0

    def start(self) -> bytes:
        """What comes first."""
        return _GZIP_HEADER

    def add(self, data: bytes) -> list[Part]:
        """What a piece becomes; in parts, since whoever only hashes them need not join them."""
        self._crc, self._size = zlib.crc32(data, self._crc), self._size + len(data)
        return self._pack(data)

    def finish(self) -> bytes:
        """What comes last."""
        return self._rest() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)

    @property
    def crc(self) -> int:
        """Check sum of what was added."""
        return self._crc

    def _pack(self, data: bytes) -> list[Part]:
        view = memoryview(data)
        parts: list[Part] = []
        for start in range(0, len(data), _BLOCK):
            block = view[start : start + _BLOCK]
            parts += [struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block]
        return parts

    def _rest(self) -> bytes:
        return _LAST_BLOCK


class DeflatedGzip(StoredGzip):
    """A gzip as everybody makes them; the same bytes wherever the version of zlib is the same."""

    def __init__(self) -> None:
        super().__init__()
        self._squeeze = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)

    def _pack(self, data: bytes) -> list[Part]:
        return [self._squeeze.compress(data)]

    def _rest(self) -> bytes:
        return self._squeeze.flush()


class PlainTar(StoredGzip):
    """No gzip at all: one digest less to compute, for whoever takes such layers."""

    media_type = TAR_LAYER_TYPE

    def start(self) -> bytes:
        """Nothing."""
        return b""

    def finish(self) -> bytes:
        """Nothing: the pieces are the tar, to its end."""
        return b""

    def _pack(self, data: bytes) -> list[Part]:
        return [data]


CODECS: dict[str, Callable[[], StoredGzip]] = {"stored": StoredGzip, "gzip": DeflatedGzip, "none": PlainTar}
"""The ways to write a layer, by name."""


class LayerReader(io.RawIOBase):
    """Reads the bytes of a layer, made anew from its files; a reading may give fewer bytes than were asked for.

    Args:
        files: In the order of the layer.
        codec: A name of ``CODECS``.
        crc: Check sum of the tar when it was planned.
    """

    def __init__(self, files: tuple[File, ...], codec: str, crc: int) -> None:
        super().__init__()
        self._pieces = self._packed(files, codec, crc)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, none at the end.

        Raises:
            StorageError: a file cannot be read, or is not what it was when the layer was planned.
        """
        if size is None or size < 0:
            return self.readall()
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            if len(piece) <= size:
                return piece
            self._held = memoryview(piece)
        taken, self._held = self._held[:size], self._held[size:]
        return bytes(taken)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file that is being read."""
        self._pieces.close()
        super().close()

    def _packed(self, files: tuple[File, ...], codec: str, crc: int) -> Generator[bytes, None, None]:
        packer = CODECS[codec]()
        if start := packer.start():
            yield start
        for piece in tar_pieces(files):
            if packed := b"".join(packer.add(piece.data)):
                yield packed
        if packer.crc != crc:
            raise changed("a file of a layer")
        if end := packer.finish():
            yield end
