"""What a Dockerfile is built from: its directory, and the model below ``model/``, as one archive."""

import gzip
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lading import storage
from lading.errors import InvalidInput, NotFound
from lading.files import storage_errors

MODEL_FOLDER = "model"
"""Where the Dockerfile finds the SavedModel."""


@dataclass(frozen=True)
class Context:
    """An archive that is ready to be sent."""

    path: Path
    sha256: str
    """64 hex digits: the same files give the same."""
    size: int
    """In bytes."""


@contextmanager
def build_context(source: str, model: Path | None, dockerfile: str) -> Iterator[Context]:
    """Pack a directory, and a model beside what is in it, into a temporary ``.tar.gz``.

    Args:
        source: A directory: a path or ``gs://``.
        model: A SavedModel, or None.
        dockerfile: Path in ``source``.

    Raises:
        NotFound: there is no such directory.
        InvalidInput: it has no such Dockerfile, or something in the place of the model.
        StorageError: the disk is full, or a file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lading-context-") as scratch:
        root = _here(source, Path(scratch) / "source")
        if not (root / dockerfile).is_file():
            raise InvalidInput(f"expected a directory with {dockerfile} to build from, received {source}")
        if model and (root / MODEL_FOLDER).exists():
            raise InvalidInput(f"{source} holds {MODEL_FOLDER!r}, where the model goes: rename it")
        target = Path(scratch) / "context.tar.gz"
        with (
            storage_errors(target),
            target.open("wb") as file,
            # Quickly: weights hardly shrink. Without a name and a time in it: the same files are the same object.
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            _add(tar, root, "")
            if model:
                _add(tar, model, f"{MODEL_FOLDER}/")
        with target.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        yield Context(target, digest, target.stat().st_size)


def _here(source: str, scratch: Path) -> Path:
    if storage.is_remote(source):
        scratch.mkdir()
        storage.copy_directory(source, scratch)
        return scratch
    root = storage.local_path(source)
    if not root.is_dir():
        raise NotFound(f"no directory at {source}")
    return root


def _add(tar: tarfile.TarFile, root: Path, prefix: str) -> None:
    for path in sorted(root.rglob("*"), key=lambda one: one.as_posix()):
        entry = tar.gettarinfo(path, prefix + path.relative_to(root).as_posix())
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
        if entry.islnk():  # a second name of a file, which is a file all the same
            entry.type, entry.size, entry.linkname = tarfile.REGTYPE, path.stat().st_size, ""
        if entry.isreg():
            with path.open("rb") as file:
                tar.addfile(entry, file)
        elif entry.isdir() or entry.issym():
            tar.addfile(entry)
        else:
            raise InvalidInput(f"expected files, directories and links to build from, found {path}")
