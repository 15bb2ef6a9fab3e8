"""Layers: a directory becomes a reproducible tar in a gzip container, and back.

The same files give the same bytes on every machine: entries sorted by their bytes, owner 0, modes 755 and 644, times 0.
The gzip container holds *stored* blocks (RFC 1951, 3.2.4), which no zlib version can write differently: weights hardly
shrink, and storing them costs a sixteenth of the CPU time.
"""

import hashlib
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from lading.errors import InvalidModel, StorageError
from lading.files import storage_errors
from lading.oci.image import LAYER_TYPE, Descriptor

# RFC 1952: no name, time 0, no extra flags, unknown operating system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BLOCK = 65535  # the most that one stored block holds
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer that was written to a file."""

    path: Path
    descriptor: Descriptor
    diff_id: str
    """Digest of the uncompressed tar."""


def write_layer(source: Path, prefix: str, to: Path) -> Layer:
    """Write the files below ``source`` as a layer in which they lie below ``prefix``.

    Args:
        source: A directory of regular files.
        prefix: Their place in the image, for instance ``models/taxi/1``.
        to: Where the layer is written.

    Raises:
        InvalidModel: ``source`` is not a directory, or holds something other than files and directories.
        StorageError: the disk is full or a file cannot be read.
    """
    if not source.is_dir():
        raise InvalidModel(f"expected a directory to package, received {source}")
    with storage_errors(to), to.open("wb") as file:
        writer = _StoredGzip(file)
        with tarfile.TarFile(
            fileobj=cast(BinaryIO, writer),
            mode="w",
            format=tarfile.PAX_FORMAT,
            copybufsize=_COPY_BYTES,
        ) as tar:
            for name, path in _entries(source, prefix):
                _add(tar, name, path)
        digest, size, diff_id = writer.finish()
    return Layer(to, Descriptor(LAYER_TYPE, digest, size), diff_id)


def unpack(blob: Path, into: Path) -> None:
    """Unpack a layer (a tar, gzipped or not) into an existing directory.

    Only what ``write_layer`` writes is taken, files and directories, so that nothing can leave the directory: absolute
    names, ``..``, links and devices are refused. (The ``data`` filter of PEP 706 would do, but Python 3.11 has it only
    from 3.11.4 on.)

    Raises:
        StorageError: the layer is damaged, holds something that is refused, or does not fit on the disk.
    """
    try:
        with storage_errors(into), tarfile.open(blob) as tar:
            for entry in tar:
                _extract(tar, entry, into)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise StorageError(f"cannot unpack layer {blob.name} into {into}: {error}") from error


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo, into: Path) -> None:
    name = PurePosixPath(entry.name)
    if name.is_absolute() or ".." in name.parts or not (entry.isdir() or entry.isreg()):
        raise tarfile.TarError(f"expected files and directories that lie inside, found {entry.name!r}")
    path = into / name
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(entry)
    assert source is not None
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, _COPY_BYTES)
    path.chmod(0o755 if entry.mode & 0o111 else 0o644)


def _entries(source: Path, prefix: str) -> Iterator[tuple[str, Path | None]]:
    """Names in the layer and the paths behind them, sorted by bytes; the parents of the prefix have no path."""
    parts = prefix.strip("/").split("/")
    found: list[tuple[str, Path | None]] = [("/".join(parts[:count]), None) for count in range(1, len(parts) + 1)]
    for directory, directories, files in os.walk(source):
        for name in (*directories, *files):
            path = Path(directory) / name
            found.append((f"{'/'.join(parts)}/{path.relative_to(source).as_posix()}", path))
    return iter(sorted(found, key=lambda entry: entry[0].encode()))


def _add(tar: tarfile.TarFile, name: str, path: Path | None) -> None:
    entry = tarfile.TarInfo(name)  # owner 0, no names, time 0
    if path is None or (path.is_dir() and not path.is_symlink()):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif path.is_symlink() or not path.is_file():
        raise InvalidModel(
            f"expected only files and directories to package, found {path}: put a copy of the file there"
        )
    else:
        stat = path.stat()
        entry.size, entry.mode = stat.st_size, 0o755 if stat.st_mode & 0o111 else 0o644
        with path.open("rb") as file:
            tar.addfile(entry, file)


class _StoredGzip:
    """A file for ``tarfile`` that writes a gzip of stored blocks and takes both digests on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inner, self._outer = hashlib.sha256(), hashlib.sha256()
        self._crc = self._size = self._written = 0
        self._pending = bytearray()
        self._emit(_GZIP_HEADER)

    def write(self, data: bytes) -> int:
        self._inner.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._pending += data
        whole = (len(self._pending) - 1) // _BLOCK * _BLOCK  # the last block is only known at the end
        for start in range(0, whole, _BLOCK):
            self._block(bytes(self._pending[start : start + _BLOCK]), last=False)
        del self._pending[: max(whole, 0)]
        return len(data)

    def tell(self) -> int:
        return self._size

    def finish(self) -> tuple[str, int, str]:
        """Write what is left; return digest and size of the gzip, and the digest of what is in it."""
        self._block(bytes(self._pending), last=True)
        self._emit(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        return f"sha256:{self._outer.hexdigest()}", self._written, f"sha256:{self._inner.hexdigest()}"

    def _block(self, data: bytes, *, last: bool) -> None:
        self._emit(struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF))
        self._emit(data)

    def _emit(self, data: bytes) -> None:
        self._outer.update(data)
        self._file.write(data)
        self._written += len(data)
