"""The output directory of a run on this machine."""

import errno
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lading.batch.file_claim import FileClaim
from lading.batch.file_journal import FileJournal, sync_directory
from lading.batch.plan import NOTES
from lading.errors import InvalidInput, NotFound
from lading.files import atomic_file, make_parent, storage_errors

_PIECE_BYTES = 1 << 20
_CANNOT_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_CANNOT_LINK = (*_CANNOT_COPY, errno.EMLINK, errno.EACCES)


class LocalOutputs:
    """See ``lading.batch.files.Outputs``.

    While it is claimed, by whatever process, what is being written lies in ``_lading/scratch``, which the next claim
    clears: a run that was killed leaves nothing between the outputs.
    """

    def __init__(self, root: Path) -> None:
        self.uri = str(root)
        self._root = root
        self._scratch = root / NOTES / "scratch"
        self._claim = FileClaim(root / NOTES / "lock")
        self._journals: dict[str, FileJournal] = {}
        self._lock = threading.Lock()
        """Held for the journals."""
        self._settled: set[Path] = set()

    def claim(self, owner: str) -> None:
        """See ``Outputs``."""
        self._claim.take(owner)
        with storage_errors(self._scratch):
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch.mkdir(exist_ok=True)

    def check(self) -> None:
        """See ``Outputs``."""
        self._claim.check()

    def release(self) -> None:
        """See ``Outputs``."""
        with self._lock:
            for journal in self._journals.values():
                journal.close()
            self._journals.clear()
        if self._claim.held:
            shutil.rmtree(self._scratch, ignore_errors=True)
            _remove_empty(self._root / NOTES)
            self._claim.release()

    def read(self, name: str) -> bytes | None:
        """See ``Outputs``."""
        path = self._path(name)
        with storage_errors(path), suppress(FileNotFoundError, NotADirectoryError):
            return path.read_bytes()
        return None

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """See ``Outputs``."""
        with self._writing(name) as file:
            for piece in [content] if isinstance(content, bytes) else content:
                file.write(piece)

    def concatenate(self, names: Sequence[str], to: str) -> None:
        """See ``Outputs``."""
        if len(names) == 1 and self._link(self._path(names[0]), to):
            return
        with self._writing(to) as file:
            for name in names:
                with self._reading(name) as part:
                    _copy(part, file)

    def stream(self, name: str) -> Iterator[bytes]:
        """See ``Outputs``."""
        with self._reading(name) as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def names(self, directory: str) -> list[str]:
        """See ``Outputs``."""
        below = self._path(directory) if directory else self._root
        return sorted(
            (Path(folder) / file).relative_to(self._root).as_posix()
            for folder, _, files in os.walk(below)
            for file in files
        )

    def remove(self, names: Sequence[str]) -> None:
        """See ``Outputs``."""
        paths = [self._path(name) for name in names]
        with self._lock:
            for name in names:
                if name in self._journals:
                    self._journals.pop(name).close()
        for path in paths:
            with storage_errors(path), suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def append(self, name: str, line: bytes) -> None:
        """See ``Outputs``."""
        with self._lock:
            self._journal(name).append(line)

    def flush(self) -> None:
        """See ``Outputs``: every line is durable already."""

    def lines(self, name: str) -> list[bytes]:
        """See ``Outputs``."""
        with self._lock:
            return self._journal(name).lines()

    def _journal(self, name: str) -> FileJournal:
        if name not in self._journals:
            self._journals[name] = FileJournal(self._path(name))
        return self._journals[name]

    def _path(self, name: str) -> Path:
        """The place of a name; names come from inputs too, where any text may be one."""
        if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
            raise InvalidInput(f"{name!r} is no name of a file below {self.uri}")
        return self._root / name

    @contextmanager
    def _writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that appears when the block succeeds, and is durable then."""
        path = self._path(name)
        with atomic_file(path, scratch=self._scratch if self._scratch.is_dir() else None) as file:
            yield file
        self._settle(path)

    @contextmanager
    def _reading(self, name: str) -> Iterator[FileIO]:
        path = self._path(name)
        try:
            with storage_errors(path), path.open("rb", buffering=0) as file:
                yield file
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"no file at {path}") from error

    def _link(self, part: Path, to: str) -> bool:
        """Give a file a second name; False if the file system does not."""
        path = self._path(to)
        scratch = (self._scratch if self._scratch.is_dir() else path.parent) / f".link.{uuid.uuid4().hex}"
        try:
            make_parent(path)
            os.link(part, scratch)
            with storage_errors(path):
                scratch.replace(path)
        except FileNotFoundError as error:
            raise NotFound(f"no file at {part}") from error
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            return False
        finally:
            # Still there after all went well if both were the same file already (rename, POSIX.1-2017).
            scratch.unlink(missing_ok=True)
        self._settle(path)
        return True

    def _settle(self, path: Path) -> None:
        """Make the name of a file durable, and those of the directories above it that are new."""
        directory = path.parent
        with storage_errors(path):
            sync_directory(directory)
            while directory != self._root and directory not in self._settled:
                self._settled.add(directory)
                directory = directory.parent
                sync_directory(directory)


def _copy(part: FileIO, to: BinaryIO) -> None:
    """Append a file to another, in the kernel where it can: some file systems then share the blocks."""
    to.flush()
    left = os.fstat(part.fileno()).st_size
    try:
        while left and hasattr(os, "copy_file_range"):
            copied = os.copy_file_range(part.fileno(), to.fileno(), left)
            if not copied:
                break
            left -= copied
    except OSError as error:
        if error.errno not in _CANNOT_COPY:
            raise
    shutil.copyfileobj(part, to, _PIECE_BYTES)


def _remove_empty(directory: Path) -> None:
    """Remove the directories below that hold no file."""
    for folder, _, _ in os.walk(directory, topdown=False):
        with suppress(OSError):  # not empty
            Path(folder).rmdir()
