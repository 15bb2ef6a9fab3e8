"""Copies of models that lie in buckets, on this machine's disk."""

import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from lading import storage
from lading.errors import InvalidModel
from lading.files import storage_errors, whole_directory

PARALLEL = 8
"""Files that are copied at the same time."""


class Copies:
    """A directory for copies below the system's directory for temporary files; made with the first copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def fetch(self, uri: str, number: int) -> Path:
        """Copy a version; the copy's directory is named by its number, and appears when it is whole.

        Args:
            uri: ``gs://BUCKET/…``, the directory of a SavedModel.
            number: The version.

        Raises:
            InvalidModel: the bucket has names that lead out of the directory.
            NotFound, AccessDenied, StorageError: it cannot be read, or the disk is full.
        """
        files = {file: _below(uri, file) for file in storage.list_files(uri)}
        target = self._new_directory() / str(number)
        try:
            with whole_directory(target) as scratch, ThreadPoolExecutor(PARALLEL) as pool:
                for copied in [pool.submit(storage.copy_file, file, scratch / name) for file, name in files.items()]:
                    copied.result()
        except BaseException:
            self.remove(target)
            raise
        return target

    def remove(self, copy: Path) -> None:
        """Delete a copy."""
        shutil.rmtree(copy.parent, ignore_errors=True)

    def close(self) -> None:
        """Delete every copy."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def _new_directory(self) -> Path:
        with storage_errors(Path(tempfile.gettempdir())):
            with self._lock:
                if self._root is None:
                    self._root = Path(tempfile.mkdtemp(prefix="lading-models-"))
            return Path(tempfile.mkdtemp(dir=self._root))


def _below(uri: str, file: str) -> PurePosixPath:
    name = PurePosixPath(file.removeprefix(uri.rstrip("/") + "/"))
    # Any text is a name in a bucket, also one that is a way out of a directory.
    if name.is_absolute() or ".." in name.parts:
        raise InvalidModel(f"the SavedModel {uri} has a file whose name leads out of it: {file}")
    return name
