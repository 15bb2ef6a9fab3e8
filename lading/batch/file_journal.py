"""A journal in a file: a line is durable when ``append`` returns."""

import errno
import os
from pathlib import Path

from lading.files import make_parent, storage_errors

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


class FileJournal:
    """Lines that are only ever added. What a crash left without its newline is no line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._end = 0

    def lines(self) -> list[bytes]:
        """The whole lines; none if there is no file."""
        try:
            with storage_errors(self._path):
                content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        return content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]

    def append(self, line: bytes) -> None:
        """Add a line.

        Raises:
            StorageError: the disk is full; nothing of the line is there.
        """
        with storage_errors(self._path):
            if self._handle is None:
                self._open()
            assert self._handle is not None
            left = memoryview(line + b"\n")
            try:
                while left:
                    left = left[os.write(self._handle, left) :]
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, self._end)
                raise
            self._end += len(line) + 1

    def close(self) -> None:
        """Give the file back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> None:
        make_parent(self._path)
        whole = sum(len(line) + 1 for line in self.lines())
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._handle, whole)
        self._end = whole
        sync_directory(self._path.parent)


def sync_directory(path: Path) -> None:
    """Make durable that files have come into a directory, where the file system can."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)
