"""Locks that end with their process: ``flock`` on a file that holds the owner's pid."""

import fcntl
import os
from pathlib import Path

from lading.files import storage_errors
from lading.wait import Deadline


class FileLock:
    """An exclusive lock on a file.

    The kernel gives it back when the process ends, however it ends. Child processes do not inherit it, since Python
    opens files close-on-exec (PEP 446).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1

    def acquire(self, deadline: Deadline) -> bool:
        """Take the lock; False when another process still holds it at the deadline."""
        with storage_errors(self._path):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if deadline.passed:
                    os.close(handle)
                    return False
                deadline.sleep(0.02)
            else:
                break
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._handle)
        self._handle = -1


def holder(path: Path) -> int | None:
    """The pid of the process that holds the lock, or None when nobody does; 0 when it has not said yet."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two who ask at the same time do not take each other for the holder.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(handle, 32) or b"0")
    else:
        return None
    finally:
        os.close(handle)
