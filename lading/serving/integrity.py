"""Checks a model's files against the digests that its image carries.

Whoever can write into a running container, or mount something over a part of it, can change a model without changing
the image's digest. The digests were taken when the image was made and lie in a layer of their own.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lading.errors import InvalidInput, InvalidModel
from lading.files import digest_file
from lading.values import FileDigest, ModelDigests, from_json

_THREADS = 4
_MOST_NAMED = 3


def check_model(directory: Path, digests: Path) -> int:
    """See that a model is, file by file, the one that was packaged.

    Args:
        directory: The SavedModel that is to be loaded.
        digests: The JSON of ``ModelDigests``. A relative ``root`` in it is below the working directory, as everything
            is in an image without a root of its own.

    Returns:
        Bytes that were read.

    Raises:
        InvalidModel: a file is missing, changed or too many; names some of them. Or the digests are about another
            model, or cannot be read.
    """
    try:
        expected = from_json(digests.read_bytes(), ModelDigests)
    except (OSError, InvalidInput, TypeError, AttributeError) as error:
        raise InvalidModel(
            f"{directory} cannot be checked: its digests in {digests} cannot be read: {error}"
        ) from error
    if os.path.realpath(expected.root) != os.path.realpath(directory):
        raise InvalidModel(
            f"{directory} cannot be checked: the digests in {digests} are of the model in {expected.root}. Serve that "
            "one, or start without --verify-models"
        )
    found = dict(_files(directory, ""))
    problems = {
        "missing": sorted(expected.files.keys() - found.keys()),
        "not in the image": sorted(found.keys() - expected.files.keys()),
        "changed": _changed(found, expected.files),
    }
    if any(problems.values()):
        said = "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)
        raise InvalidModel(
            f"{directory} is not the model that was packaged: {said}. Start a new container from the image; if it is "
            "the same there, package and deploy the model again"
        )
    return sum(digest.size for digest in expected.files.values())


def _files(directory: Path, below: str) -> Iterator[tuple[str, Path | None]]:
    """What is below a directory, by its path; None for what is no file. Links are not followed."""
    with os.scandir(directory / below) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(directory, f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}", Path(entry.path) if entry.is_file(follow_symlinks=False) else None


def _changed(found: dict[str, Path | None], expected: dict[str, FileDigest]) -> list[str]:
    """The files whose content is not what is expected. Those of another size are not read."""
    changed, same_size = [], {}
    for name in sorted(found.keys() & expected.keys()):
        path = found[name]
        if path is None or path.stat().st_size != expected[name].size:
            changed.append(name)
        else:
            same_size[name] = path
    with ThreadPoolExecutor(_THREADS) as pool:
        read = pool.map(digest_file, same_size.values())
        changed += [name for name, digest in zip(same_size, read, strict=True) if digest != expected[name]]
    return sorted(changed)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
