"""Where a model lies that is to be packaged: a SavedModel or a base of versions, on this machine or in a bucket.

Apart from ``lading.predict`` because a step that packages has neither numpy nor an engine.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lading import storage
from lading.errors import InvalidModel, NotFound
from lading.files import LAST_FILE

CONVERSION = "assets.extra/lading/litert"
"""Where ``lading convert`` puts a model of LiteRT, inside of the SavedModel; see ``lading.predict.conversion``."""


@dataclass(frozen=True)
class ModelFiles:
    """A SavedModel on this machine."""

    directory: Path
    version: int
    """The number that its directory is named by in a base of versions; else 1."""
    given: str
    """What was asked for."""

    def check_converted(self) -> None:
        """See that ``lading convert`` was run on it, and found the conversion right.

        Raises:
            InvalidModel: it was not; the message says what to do.
        """
        report = self.directory / CONVERSION / "report.json"
        again = f"`lading convert {self.given} --out DIR`, then package DIR; or choose a base of the engine tensorflow"
        if not report.is_file():
            raise InvalidModel(f"the base serves with LiteRT, and {self.given} is not converted for it: {again}")
        try:
            passed = json.loads(report.read_bytes())["passed"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidModel(f"the conversion of {self.given} cannot be read ({error!r}): {again}") from error
        if passed is not True or not (self.directory / CONVERSION / "model.tflite").is_file():
            raise InvalidModel(
                f"the base serves with LiteRT, and the conversion of {self.given} failed, as its report says: choose a "
                "base of the engine tensorflow"
            )


@contextlib.contextmanager
def model_files(model: str | Path) -> Iterator[ModelFiles]:
    """Find a SavedModel; one in a bucket is copied to a directory that is gone after the block.

    Args:
        model: A path, ``file://`` or ``gs://``: a SavedModel, or a base of versions as TensorFlow Serving has it
            (``BASE/NUMBER/saved_model.pb``), of which the highest number is taken.

    Raises:
        InvalidModel: there is none.
        AccessDenied: the bucket may not be read.
        StorageError: it could not be read, or the disk is full.
    """
    given = str(model)
    found, version = find_version(given)
    if not storage.is_remote(given):
        yield ModelFiles(storage.local_path(found), version, given)
        return
    with tempfile.TemporaryDirectory(prefix="lading-model-") as scratch:
        storage.copy_directory(found, Path(scratch))
        yield ModelFiles(Path(scratch), version, given)


def find_version(model: str) -> tuple[str, int]:
    """The URI of the directory that holds ``saved_model.pb``, and its version; as ``model_files``, without a copy."""
    wanted = f"expected a SavedModel (a directory that holds {LAST_FILE}), or a base of versions, received {model}"
    try:
        names = storage.list_names(model)
    except (NotFound, NotADirectoryError) as error:
        raise InvalidModel(f"{wanted}: {error}") from error
    if LAST_FILE in names:
        return model, 1
    versions = [number for number in map(_version, names) if number is not None]
    if not versions:
        raise InvalidModel(wanted)
    # The highest number, not the last name: 10 comes after 9. A name may have zeros in front.
    name = next(name for name in names if _version(name) == max(versions))
    newest = storage.join(model, name)
    if not storage.exists(storage.join(newest, LAST_FILE)):
        raise InvalidModel(f"{newest}, the highest version of {model}, has no {LAST_FILE}: is it still being copied?")
    return newest, max(versions)


def _version(name: str) -> int | None:
    """The version that a directory of this name is: digits, at most int64; None if it is none."""
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None
    return number if number is not None and number < 2**63 else None
