"""Log files of bounded size, and their last lines."""

import shutil
from pathlib import Path

MAX_BYTES = 10_000_000
"""A log that is longer is moved to ``NAME.1``; the one before is dropped."""


def bound(path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Empty a log that has grown too long, after copying it to ``NAME.1``.

    The file stays the same file, because a process writes to it directly (through a pipe, its output would end with
    this server). It is opened for appending, so the writer goes on at the new end. Lines written between the copy and
    the cut are lost.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return
    except FileNotFoundError:
        return
    try:
        shutil.copyfile(path, rotated(path))
    finally:  # also when the disk is full: a log must not be what fills it
        with path.open("r+b") as file:
            file.truncate(0)


def rotated(path: Path) -> Path:
    """Where the older part of a log is."""
    return path.with_name(f"{path.name}.1")


def tail(path: Path, *, lines: int, max_bytes: int = 1 << 20) -> list[str]:
    """The last lines of a log, also over its older part; empty when there is none."""
    found: list[str] = []
    for part in (path, rotated(path)):
        if len(found) < lines and part.exists():
            with part.open("rb") as file:
                file.seek(max(0, part.stat().st_size - max_bytes))
                found = [*file.read().decode("utf-8", "replace").splitlines(), *found]
    return found[-lines:] if lines else []
