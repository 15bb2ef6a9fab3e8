"""A claim on a directory of this machine: ``flock``, which the kernel gives back however a process ends."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from lading.errors import RunInProgress, StorageError
from lading.files import make_parent, storage_errors

_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS)
_MOST_OWNER = 256


class FileClaim:
    """An exclusive lock on a file that says whose it is. Linux passes it on over NFS; child processes do not get it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether it was claimed and not released."""
        return self._handle is not None

    def take(self, owner: str) -> None:
        """Take the lock at once, or not at all.

        Raises:
            RunInProgress: another process has it, or this one in another place; names it.
            StorageError: the file system has no locks, or cannot be written.
        """
        while self._handle is None:
            # A run that ends may remove the directory just before the file is made in it.
            with storage_errors(self._path), contextlib.suppress(FileNotFoundError):
                make_parent(self._path)
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                self._try(handle, owner)

    def check(self) -> None:
        """See that the lock file is still the one at its path.

        Raises:
            RunInProgress: someone removed it, so that others may claim.
        """
        if self._handle is None or not _is_at(self._handle, self._path):
            raise RunInProgress(
                f"the claim on {self._path.parent.parent} was lost: {self._path} is no longer there. Run again to go on"
            )

    def release(self) -> None:
        """Give the lock back; the file goes too when nothing else is in its directory."""
        if self._handle is None:
            return
        if _is_at(self._handle, self._path) and list(self._path.parent.iterdir()) == [self._path]:
            self._path.unlink()
            # Another run may have begun in this moment.
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()
        os.close(self._handle)
        self._handle = None

    def _try(self, handle: int, owner: str) -> None:
        try:
            self._lock(handle)
            if _is_at(handle, self._path):  # else its last holder has removed it before it let go
                os.ftruncate(handle, 0)
                os.pwrite(handle, owner.encode(), 0)
                self._handle = handle
        finally:
            if self._handle is None:
                os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, _MOST_OWNER, 0).decode(errors="replace")
            raise RunInProgress(
                f"another run is at work on {self._path.parent.parent}"
                f"{f': process {owner}' if owner else ''}. Wait for it, end it, or choose another output"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise StorageError(
                f"cannot lock {self._path}: its file system has no locks (flock: {error.strerror}), so two runs could "
                "not be kept apart. Choose an output on another file system, or a bucket by its gs:// URI"
            ) from error


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
