"""Files by URI: a path on this machine, ``file://``, or ``gs://bucket/prefix``.

``gs://`` goes through ``lading.buckets``: inside ``buckets.kept()`` several calls share one client.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from lading import buckets
from lading.errors import InvalidReference, NotFound
from lading.files import storage_errors, write_atomic

RETRY_SECONDS = 20.0
"""For how long Cloud Storage is asked again when it does not answer: people wait for most of what is read here."""


def is_remote(uri: str) -> bool:
    """Whether the URI is in a bucket rather than on this machine."""
    return uri.startswith("gs://")


def local_path(uri: str) -> Path:
    """The path of a URI on this machine.

    Raises:
        InvalidReference: the URI has another scheme.
    """
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    if "://" in uri:
        raise InvalidReference(f"expected a path, file:// or gs://, received {uri!r}")
    return Path(uri)


def read_bytes(uri: str) -> bytes:
    """The content of one file.

    Raises:
        NotFound: there is no such file.
        StorageError: it could not be read.
        InvalidReference: the URI has an unknown scheme.
    """
    if is_remote(uri):
        with buckets.blob(uri) as blob:
            content: bytes = blob.download_as_bytes(retry=_retry())
            return content
    path = local_path(uri)
    try:
        with storage_errors(path):
            return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"no file at {uri}") from error


def write_bytes(uri: str, content: bytes) -> None:
    """Write one file; readers see the old content or the new, never a part.

    Raises:
        NotFound: the bucket does not exist.
        AccessDenied: the bucket may not be written.
        StorageError: it could not be written.
        InvalidReference: the URI has an unknown scheme.
    """
    if is_remote(uri):
        with buckets.blob(uri) as blob:
            blob.upload_from_string(content, "application/octet-stream", retry=_retry())
    else:
        write_atomic(local_path(uri), content)


def upload_file(path: Path, uri: str) -> None:
    """Copy a file of this machine to a URI; it streams, and readers see it when it is whole.

    Raises:
        NotFound: there is no such file, or the bucket does not exist.
        AccessDenied: the bucket may not be written.
        StorageError: it could not be written.
        InvalidReference: the URI has an unknown scheme.
    """
    if is_remote(uri):
        with buckets.blob(uri) as blob:
            blob.upload_from_filename(str(path), "application/octet-stream", retry=_retry())
    else:
        copy_file(str(path), local_path(uri))


def exists(uri: str) -> bool:
    """Whether there is a file at the URI.

    Raises:
        AccessDenied: the bucket may not be read.
        StorageError: it could not be looked at.
    """
    if is_remote(uri):
        with buckets.blob(uri) as blob:
            return bool(blob.exists(retry=_retry()))
    return local_path(uri).is_file()


def list_files(prefix: str, *, limit: int | None = None) -> list[str]:
    """The URIs of the files below a directory, in the order of their names; a file is listed by itself.

    Args:
        prefix: A directory or file on this machine, or ``gs://BUCKET/PREFIX``.
        limit: At most so many.

    Raises:
        NotFound: the bucket does not exist.
        AccessDenied: it may not be listed.
        StorageError: it could not be listed.
    """
    if not is_remote(prefix):
        root = local_path(prefix)
        with storage_errors(root):
            found = [str(root)] if root.is_file() else sorted(str(path) for path in root.rglob("*") if path.is_file())
        return found[:limit]
    bucket, name = buckets.split(prefix)
    with buckets.opened(bucket, prefix) as opened:
        # A prefix is text to Cloud Storage, so "data" would also find "data-old/x".
        exact = [blob.name for blob in opened.list_blobs(prefix=name, max_results=1, retry=_retry())]
        below = opened.list_blobs(prefix=f"{name.rstrip('/')}/" if name else "", max_results=limit, retry=_retry())
        names = [name] if name in exact else [blob.name for blob in below if not blob.name.endswith("/")]
    return [f"gs://{bucket}/{found}" for found in names][:limit]


def list_names(directory: str) -> list[str]:
    """The names of what is in a directory, files and directories, in order.

    Args:
        directory: A directory on this machine, or ``gs://BUCKET/PREFIX``.

    Raises:
        NotFound: there is no such directory; for a bucket: nothing is below the prefix, or there is no bucket.
        NotADirectoryError: there is a file on this machine.
        AccessDenied: it may not be listed.
        StorageError: it could not be listed.
    """
    if not is_remote(directory):
        root = local_path(directory)
        try:
            with storage_errors(root):
                return sorted(entry.name for entry in root.iterdir())
        except FileNotFoundError as error:
            raise NotFound(f"no directory at {directory}") from error
    bucket, name = buckets.split(directory)
    prefix = f"{name.rstrip('/')}/" if name else ""
    with buckets.opened(bucket, directory) as opened:
        # With a delimiter Cloud Storage gives the folders as prefixes, which are known once every page was read.
        blobs = opened.list_blobs(prefix=prefix, delimiter="/", retry=_retry())
        found = [blob.name.removeprefix(prefix) for blob in blobs]
        found += [folder.removeprefix(prefix).rstrip("/") for folder in blobs.prefixes]
    if not found:
        raise NotFound(f"nothing below {directory}")
    return sorted(name for name in found if name)


def copy_file(uri: str, to: Path) -> Path:
    """Copy one file to a path on this machine; it streams, and ``to`` appears only when it is whole.

    Raises:
        NotFound: there is no such file.
        StorageError: it could not be read or written.
    """
    scratch = to.with_name(f".{to.name}.part")
    with storage_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            if is_remote(uri):
                with buckets.blob(uri) as blob:
                    blob.download_to_filename(str(scratch), retry=_retry())
            else:
                source = local_path(uri)
                if not source.is_file():
                    raise NotFound(f"no file at {uri}")
                shutil.copyfile(source, scratch)
            scratch.replace(to)
        finally:
            scratch.unlink(missing_ok=True)
    return to


def copy_directory(uri: str, to: Path, *, parallel: int = 8) -> None:
    """Copy the files below a directory into an existing directory of this machine, several at a time.

    Args:
        uri: A directory on this machine, or ``gs://BUCKET/PREFIX``.
        to: When this fails, some of the files may be there.
        parallel: So many files at a time.

    Raises:
        NotFound: there is no such directory, or nothing is in it.
        InvalidReference: a name in the bucket leads out of the directory.
        AccessDenied: it may not be read.
        StorageError: it could not be read or written.
    """
    files = list_files(uri)
    if not files:
        raise NotFound(f"nothing below {uri}")
    root = uri if is_remote(uri) else str(local_path(uri))
    names = {file: PurePosixPath(file.removeprefix(root.rstrip("/")).lstrip("/")) for file in files}
    for file, name in names.items():
        # Any text is a name in a bucket, also one that is a way out of a directory.
        if ".." in name.parts:
            raise InvalidReference(f"{uri} has a file whose name leads out of it: {file}")
    with buckets.kept(), ThreadPoolExecutor(parallel) as pool:
        for copied in [pool.submit(copy_file, file, to / name) for file, name in names.items()]:
            copied.result()


def join(uri: str, name: str) -> str:
    """The URI of ``name`` inside the directory ``uri``."""
    return f"{uri.rstrip('/')}/{name}"


def _retry() -> Any:
    return buckets.retry(RETRY_SECONDS)
