"""Which versions a base path has, and which of them are served.

Rules: tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc. Paths on this machine and in
buckets (``gs://…``) are the same here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lading import storage
from lading.errors import InvalidModel, NotFound
from lading.files import LAST_FILE
from lading.predict.saved_model import version_number
from lading.serving.config import VersionPolicy


@dataclass(frozen=True)
class Found:
    """What a base path holds."""

    places: dict[int, str]
    """Where each version lies, by number, the highest first."""
    doubles: tuple[str, ...] = ()
    """Places that are left out, because another has the same number (``2`` and ``002``)."""


def find_versions(base_path: str) -> Found:
    """The versions of a base path.

    A child whose name reads as a number is a version, complete or not. A directory that itself holds
    ``saved_model.pb`` (what Vertex AI names in ``AIP_STORAGE_URI``) is one version: its name, else 1.

    Raises:
        NotFound: there is no such directory, or nothing below it in a bucket.
        InvalidModel: a file is there.
        StorageError, AccessDenied: it cannot be listed.
    """
    try:
        names = storage.list_names(base_path)
    except NotFound as error:
        raise NotFound(f"expected a SavedModel directory at {base_path}, found nothing") from error
    except NotADirectoryError as error:
        raise InvalidModel(f"expected a SavedModel directory at {base_path}, found a file") from error
    if LAST_FILE in names:
        return Found({_own_number(base_path): base_path})
    places: dict[int, str] = {}
    doubles = []
    for name in names:
        number = version_number(name)
        if number in places:
            doubles.append(storage.join(base_path, name))
        elif number is not None:
            places[number] = storage.join(base_path, name)
    return Found(dict(sorted(places.items(), reverse=True)), tuple(doubles))


def choose(found: Mapping[int, str], policy: VersionPolicy) -> dict[int, str]:
    """Those of the versions that the policy asks for, the highest first."""
    if policy.specific:
        return {number: place for number, place in found.items() if number in policy.specific}
    return dict(list(found.items())[: policy.latest])


def why_none(base_path: str, found: Mapping[int, str], policy: VersionPolicy) -> InvalidModel:
    """The error of a base path that has none of the versions asked for."""
    if found:
        return InvalidModel(
            f"expected one of the versions {_listed(policy.specific)} below {base_path}, which has {_listed(found)}"
        )
    return InvalidModel(
        f"expected a SavedModel at {base_path}: it has no saved_model.pb, and no sub-directory that is named by a "
        "version number"
    )


def check_complete(place: str) -> None:
    """Refuse a version that has no ``saved_model.pb``, or not yet.

    Raises:
        InvalidModel: it has none.
    """
    if not storage.exists(storage.join(place, LAST_FILE)):
        raise InvalidModel(f"expected a SavedModel at {place}: it has no saved_model.pb (is it still being copied?)")


def fingerprint(place: str) -> object:
    """Something that differs when files of a version have changed; in a bucket only when their names have."""
    if storage.is_remote(place):
        return tuple(storage.list_files(place))
    seen = []
    for parent, _, names in os.walk(storage.local_path(place)):
        for name in names:
            file = Path(parent, name)
            try:
                stat = file.stat()
            except OSError:  # a link to nothing, or gone in the meantime
                continue
            seen.append((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(seen))


def check_links(directory: Path, base: Path) -> None:
    """Refuse a version with a symbolic link that leads out of it.

    The version directory may itself be a link, and links may lead to other places in the base path: Kubernetes mounts
    volumes so (``1 -> ..data/1``).

    Raises:
        InvalidModel: names the link and where it leads.
    """
    allowed = (os.path.realpath(directory), os.path.realpath(base))
    for link in _links(directory, set()):
        target = os.path.realpath(link)
        if not any(target == root or target.startswith(root.rstrip("/") + "/") for root in allowed):
            raise InvalidModel(
                f"the SavedModel {directory} has a symbolic link that leads out of it: "
                f"{link.relative_to(directory)} -> {target}. Copy the file to where the link is"
            )


def _links(directory: Path, visited: set[str]) -> Iterator[Path]:
    """The symbolic links below a directory, and below the directories they lead to."""
    real = os.path.realpath(directory)
    if real in visited:
        return
    visited.add(real)
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                yield Path(entry.path)
            if entry.is_dir():
                yield from _links(Path(entry.path), visited)


def _own_number(base_path: str) -> int:
    name = base_path.rstrip("/").rpartition("/")[2]
    number = version_number(name)
    if number is None and not storage.is_remote(base_path):
        number = version_number(storage.local_path(base_path).resolve().name)
    return 1 if number is None else number


def _listed(numbers: Mapping[int, str] | tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(numbers)))
