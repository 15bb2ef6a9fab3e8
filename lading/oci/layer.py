"""Layers: files become a reproducible tar, in a gzip container by default, that is never on disk, and back.

A layer is planned by reading its files once, for its digests; its bytes are made anew whenever they are read. Memory
does not grow with the files.
"""

import hashlib
import os
import shutil
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lading.errors import InvalidInput, InvalidModel, StorageError
from lading.files import storage_errors
from lading.oci.image import TAR_LAYER_TYPE, Descriptor
from lading.oci.store import Blob
from lading.oci.stream import CODECS, PIECE_BYTES, File, LayerReader, Piece, look_at, tar_pieces
from lading.values import FileDigest

_COPY_BYTES = 1 << 20
_WAITING = 8  # batches of pieces that wait for a thread: bounds the memory


@dataclass(frozen=True)
class Entry:
    """A file or directory for a layer."""

    name: str
    """In the layer, relative to its root: ``models/taxi/1/saved_model.pb``."""
    content: Path | bytes | None
    """A file on this machine, or its bytes; None for a directory."""
    executable: bool = False
    """Of bytes; a file on this machine says it itself."""
    shared: bool = False
    """Of a directory: everybody may write into it, as into ``/tmp``."""


@dataclass(frozen=True)
class Layer:
    """A layer that can be read as often as needed."""

    blob: Blob
    diff_id: str
    """Digest of the uncompressed tar."""
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    """Every file by its name in the layer, in the order of the layer."""
    comment: str = ""
    """What it holds, for the history of an image."""

    @property
    def descriptor(self) -> Descriptor:
        """The layer by digest, as it stands in a manifest."""
        return self.blob.descriptor


def plan_layer(
    source: Path, prefix: str, *, codec: str = "stored", comment: str = "", check: Callable[[], object] | None = None
) -> Layer:
    """Plan the files below ``source`` as a layer in which they lie below ``prefix``.

    Args:
        source: A directory of regular files.
        prefix: Their place in the image, for instance ``models/taxi/1``.
        codec: See ``plan_entries``.
        comment: What it holds, for the history of an image.
        check: See ``plan_entries``.

    Raises:
        InvalidModel: ``source`` is not a directory, or holds something other than files and directories.
        InvalidInput: there is no such codec.
        StorageError: a file cannot be read, or is written to meanwhile.
    """
    return plan_entries(entries_below(source, prefix), codec=codec, comment=comment, check=check)


def plan_entries(
    entries: Iterable[Entry], *, codec: str = "stored", comment: str = "", check: Callable[[], object] | None = None
) -> Layer:
    """Plan a layer of these files; the directories that they lie in are added.

    Args:
        entries: In any order; the layer has them sorted by the bytes of their names.
        codec: ``stored`` writes gzip blocks without compression, the same bytes everywhere; ``gzip`` compresses, the
            same bytes wherever zlib is the same; ``none`` writes the tar as it is.
        comment: What it holds, for the history of an image.
        check: Called for every mebibyte; what it raises ends the planning.

    Raises:
        InvalidInput: there is no such codec, or two entries have one name.
        StorageError: a file cannot be read, or is written to meanwhile.
    """
    if codec not in CODECS:
        raise InvalidInput(f"expected the compression {', '.join(CODECS)}, received {codec!r}")
    files = _in_order(entries)
    packer, size = CODECS[codec](), 0
    is_tar = packer.media_type == TAR_LAYER_TYPE
    hashed = _Hashes()
    with _Worker() as inner, _Worker() as each:
        hashed.outer.update(start := packer.start())
        size += len(start)
        for batch in _batches(tar_pieces(files)):
            if check:
                check()
            if not is_tar:
                inner.give(hashed.add_inner, batch)
            each.give(hashed.add_files, batch)
            for piece in batch:
                for part in packer.add(piece.data):
                    hashed.outer.update(part)
                    size += len(part)
        crc = packer.crc
        hashed.outer.update(end := packer.finish())
        size += len(end)
    descriptor = Descriptor(packer.media_type, f"sha256:{hashed.outer.hexdigest()}", size)
    diff_id = descriptor.digest if is_tar else f"sha256:{hashed.inner.hexdigest()}"
    blob = Blob(descriptor, lambda: LayerReader(files, codec, crc))  # type: ignore[arg-type, return-value]
    return Layer(blob, diff_id, hashed.digests(files), comment)


def entries_below(source: Path, prefix: str) -> list[Entry]:
    """The files and directories below a directory, and their names in a layer.

    Raises:
        InvalidModel: ``source`` is not a directory, or holds something other than files and directories: what a link
            leads to may lie elsewhere, and change there.
        StorageError: a directory cannot be read.
    """
    if not source.is_dir():
        raise InvalidModel(f"expected a directory to package, received {source}")
    root = prefix.strip("/")
    found = [Entry(root, None)] if root else []
    for directory, directories, files in os.walk(source, onerror=_unreadable):
        for name in (*directories, *files):
            path = Path(directory) / name
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise InvalidModel(
                    f"expected only files and directories to package, found {path}: put a copy of the file there"
                )
            # As UTF-8, whatever the locale of this process says of names.
            below = os.fsencode(path.relative_to(source)).decode("utf-8", "surrogateescape")
            found.append(Entry(f"{root}/{below}".lstrip("/"), None if path.is_dir() else path))
    return found


def unpack(blob: Path, into: Path) -> None:
    """Unpack a layer (a tar, gzipped or not) into an existing directory.

    Only what a planned layer holds is taken, files and directories, so that nothing can leave the directory: absolute
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


def _unreadable(error: OSError) -> None:
    raise StorageError(f"cannot read {error.filename}, which is to be packaged: {error.strerror}") from error


def _in_order(entries: Iterable[Entry]) -> tuple[File, ...]:
    """The files as they are now, sorted, with every directory that they lie in."""
    found: dict[str, File] = {}
    for entry in entries:
        name = entry.name.strip("/")
        if name in found:
            raise InvalidInput(f"expected every name once in a layer, received {name} twice")
        if isinstance(entry.content, Path):
            try:
                found[name] = look_at(name, entry.content)
            except OSError as error:
                _unreadable(error)
        else:
            size = len(entry.content or b"")
            found[name] = File(name, entry.content, size, entry.executable, shared=entry.shared)
    for name in tuple(found):
        for parent in PurePosixPath(name).parents[:-1]:
            found.setdefault(str(parent), File(str(parent), None))
    return tuple(sorted(found.values(), key=lambda file: file.name.encode("utf-8", "surrogateescape")))


def _batches(pieces: Iterable[Piece]) -> Iterable[list[Piece]]:
    """The pieces in lists of about ``PIECE_BYTES``, so that small files cost no switch of threads each."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.data)
        if size >= PIECE_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


class _Worker:
    """A thread that does what it is given in order; whoever gives waits when too much is waiting."""

    def __enter__(self) -> "_Worker":
        self._pool, self._given = ThreadPoolExecutor(1), deque[Future[None]]()
        return self

    def give(self, work: Callable[[list[Piece]], None], batch: list[Piece]) -> None:
        if len(self._given) == _WAITING:
            self._given.popleft().result()
        self._given.append(self._pool.submit(work, batch))

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=error[0] is not None)
        for future in () if error[0] else self._given:
            future.result()


class _Hashes:
    """The three digests of a layer; hashlib lets other threads run meanwhile, so each can have its own."""

    def __init__(self) -> None:
        self.inner, self.outer = hashlib.sha256(), hashlib.sha256()
        self._files: dict[str, Any] = {}

    def add_inner(self, batch: list[Piece]) -> None:
        for piece in batch:
            self.inner.update(piece.data)

    def add_files(self, batch: list[Piece]) -> None:
        for piece in batch:
            if piece.file is not None:
                self._files.setdefault(piece.file.name, hashlib.sha256()).update(piece.data)

    def digests(self, files: tuple[File, ...]) -> dict[str, FileDigest]:
        empty = hashlib.sha256()
        return {
            file.name: FileDigest(file.size, self._files.get(file.name, empty).hexdigest())
            for file in files
            if file.content is not None
        }
