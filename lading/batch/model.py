"""The model of a run, from wherever it lies."""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lading.batch.options import BatchOptions
from lading.errors import InvalidInput, InvalidReference
from lading.files import digest_file
from lading.model_files import model_files
from lading.predict.model import Model, load_model
from lading.predict.signature import DEFAULT_SIGNATURE, Signature
from lading.wait import Deadline

_TAGGED = re.compile(r"[^/:]+(:\d+)?(/[^/:]+)+:[^/:]+")
"""What looks like an image by its tag: ``host:5000/name:tag``."""
_FETCH_SECONDS = 600.0
_THREADS = 4


@dataclass(frozen=True)
class OpenModel:
    """A model that is loaded, and what identifies it."""

    model: Model
    digest: str
    """SHA-256 over the names and digests of its files: the same for a directory, a bucket and an image that hold it."""


@contextlib.contextmanager
def open_model(
    uri: str, *, environ: Mapping[str, str], engine: str = "tensorflow", threads: int | None = None
) -> Iterator[OpenModel]:
    """Fetch and load a model; it is closed, and its copy removed, after the block.

    Args:
        uri: A SavedModel or a base of versions (a path or ``gs://``), or an image by digest that `lading package` made.
        environ: Credentials, and where this user's image store lies.
        engine: As ``lading.predict.model.load_model``.
        threads: Likewise.

    Raises:
        InvalidModel: no SavedModel is there, or the engine refuses it.
        InvalidReference: an image by tag.
        NotFound, AccessDenied, RemoteError, StorageError: it cannot be fetched.
        EngineError: the engine is not installed.
    """
    with _fetched(uri, environ) as directory:
        digest = model_digest(directory)
        with load_model(directory, engine=engine, threads=threads) as model:
            yield OpenModel(model, digest)


@contextlib.contextmanager
def _fetched(uri: str, environ: Mapping[str, str]) -> Iterator[Path]:
    if "@sha256:" not in uri:
        if _TAGGED.fullmatch(uri) and not Path(uri).exists():
            raise InvalidReference(
                "expected a SavedModel, a base of versions, or an image by digest (REPOSITORY@sha256:…), received "
                f"{uri}: a tag can move, so give the digest that `lading package` printed"
            )
        with model_files(uri) as found:
            yield found.directory
        return
    from lading.packaged import find_model

    deadline = Deadline.after(_FETCH_SECONDS)
    packaged = find_model(uri, environ=environ, deadline=deadline)
    with tempfile.TemporaryDirectory(prefix="lading-model-") as scratch:
        yield packaged.unpack(Path(scratch), deadline=deadline)


def model_digest(directory: Path) -> str:
    """What identifies a SavedModel: ``sha256:`` over the names, sizes and digests of its files."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = pool.map(digest_file, files)
        text = "".join(
            f"{path.relative_to(directory).as_posix()}\0{found.size}\0{found.sha256}\n"
            for path, found in zip(files, digests, strict=True)
        )
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def choose_signature(model: Model, options: BatchOptions) -> Signature:
    """The signature that a run calls.

    Raises:
        InvalidInput: it is not in the model, cannot be called, or none was named and there are several.
    """
    callable_ones = {name: found for name, found in model.signatures.items() if found.is_callable and found.inputs}
    has = f"(has: {', '.join(callable_ones) or 'none that can be called'})"
    if options.signature:
        if options.signature not in callable_ones:
            raise InvalidInput(f'the model {model.path} has no signature "{options.signature}" {has}')
        return callable_ones[options.signature]
    if len(callable_ones) == 1:
        return next(iter(callable_ones.values()))
    if DEFAULT_SIGNATURE not in callable_ones:
        raise InvalidInput(f"the model {model.path} has no signature {DEFAULT_SIGNATURE} {has}: name one (--signature)")
    return callable_ones[DEFAULT_SIGNATURE]
