"""Files by URI: a path on this machine, ``file://``, or ``gs://bucket/prefix``.

``gs://`` goes through google-cloud-storage, imported on first use; ``STORAGE_EMULATOR_HOST`` is that library's own
switch.
"""

import shutil
from pathlib import Path
from typing import Any

from lading.errors import InvalidReference, NotFound, StorageError
from lading.files import storage_errors


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
        bucket, name = _split(uri)
        blob = _bucket(bucket).blob(name)
        content: bytes = _google(lambda: blob.download_as_bytes(), uri)
        return content
    path = local_path(uri)
    try:
        with storage_errors(path):
            return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"no file at {uri}") from error


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
                bucket, name = _split(uri)
                blob = _bucket(bucket).blob(name)
                _google(lambda: blob.download_to_filename(str(scratch)), uri)
            else:
                source = local_path(uri)
                if not source.is_file():
                    raise NotFound(f"no file at {uri}")
                shutil.copyfile(source, scratch)
            scratch.replace(to)
        finally:
            scratch.unlink(missing_ok=True)
    return to


def join(uri: str, name: str) -> str:
    """The URI of ``name`` inside the directory ``uri``."""
    return f"{uri.rstrip('/')}/{name}"


def _split(uri: str) -> tuple[str, str]:
    bucket, slash, name = uri.removeprefix("gs://").partition("/")
    if not bucket or not slash:
        raise InvalidReference(f"expected gs://BUCKET/NAME, received {uri!r}")
    return bucket, name


def _bucket(name: str) -> Any:
    try:
        from google.cloud import storage
    except ImportError as error:
        raise InvalidReference(f"gs://{name} needs the Google Cloud extra: pip install 'lading[gcp]'") from error
    return storage.Client().bucket(name)


def _google(call: Any, uri: str) -> Any:
    """Run a google-cloud-storage call and put its errors into lading's words."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        return call()
    except exceptions.NotFound as error:
        raise NotFound(f"no object at {uri}") from error
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise StorageError(f"{uri}: {error}") from error
