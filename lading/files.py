"""Files on this machine: nothing half-written, and where state lives."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lading.errors import StorageError
from lading.values import FileDigest

LAST_FILE = "saved_model.pb"
"""TensorFlow Serving takes a version directory for complete when this is in it."""

_PIECE = 1 << 20
_SHOWN = 50
"""So much of a file's name is in that of its scratch file: names may not be longer than 255 bytes."""


def state_dir(environ: Mapping[str, str]) -> Path:
    """The directory of lading's own state: ``$XDG_STATE_HOME/lading``, else ``~/.local/state/lading``.

    Source: XDG Base Directory Specification 0.8 (a relative ``XDG_STATE_HOME`` is to be ignored).
    """
    base = environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return root / "lading"


def digest_file(path: Path) -> FileDigest:
    """Size and SHA-256 of a file, as they are read. Other threads run meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    import hashlib

    hashed, size, piece = hashlib.sha256(), 0, memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(piece):
            hashed.update(piece[:read])
            size += read
    return FileDigest(size, hashed.hexdigest())


def write_atomic(path: Path, content: bytes | str, *, mode: int = 0o644) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Raises:
        StorageError: the disk is full or the place cannot be written; nothing is left behind.
    """
    with atomic_file(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_file(path: Path, *, mode: int = 0o644, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """Give a file that takes its place at ``path`` when the block succeeds, and is gone when it does not.

    Args:
        path: Readers see the old content or the new, never a part.
        mode: Of the file.
        scratch: An existing directory for it until then, on the same file system; default: the one of ``path``.

    Raises:
        StorageError: the disk is full or the place cannot be written; nothing is left behind.
    """
    with storage_errors(path):
        make_parent(path)
        handle, temporary = tempfile.mkstemp(dir=scratch or path.parent, prefix=f".{path.name[:_SHOWN]}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Give a scratch directory beside ``path``; rename it to ``path`` when the block succeeds, else remove it.

    An existing directory at ``path`` is replaced. Where a directory cannot be renamed (a bucket that is mounted, as
    ``/gcs`` is in a step on Vertex AI), its files are copied, ``saved_model.pb`` last: its presence tells a model
    server that the model is whole.

    Raises:
        StorageError: the disk is full or the place cannot be written; ``path`` is as it was.
    """
    with storage_errors(path):
        make_parent(path)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield scratch
            scratch.chmod(0o755)
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                _move(path, old / "old")
                _move(scratch, path)
                shutil.rmtree(old)
            else:
                _move(scratch, path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise


def _move(source: Path, to: Path) -> None:
    """Rename a directory, or copy and remove it where that is refused."""
    try:
        source.replace(to)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        files = sorted((path for path in source.rglob("*") if path.is_file()), key=lambda p: p.name == LAST_FILE)
        try:
            to.mkdir()
            for file in files:
                there = to / file.relative_to(source)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, there)
        except BaseException:
            shutil.rmtree(to, ignore_errors=True)
            raise
        shutil.rmtree(source, ignore_errors=True)


def make_parent(path: Path) -> None:
    """Make the directory that a file or directory will lie in.

    Raises:
        StorageError: a file is in the way.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        walls = (above for above in reversed(path.parents) if above.exists() and not above.is_dir())
        wall = next(walls, error.filename)
        raise StorageError(f"cannot write {path}: {wall} is in the way and is not a directory") from error


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about ``path`` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"no space left while writing {path}: free some space there (`df -h {path.parent}`), then run again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                f"cannot write {path}: {error.strerror}; choose a place that this user can write"
            ) from error
        raise
