"""What may go: revisions that nobody would miss, and unpacked images that no revision uses."""

import json
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from lading.files import storage_errors
from lading.local import logs
from lading.local.engines import drop_images
from lading.local.images import UNPACKING, directory_of
from lading.local.objects import Object, key_of
from lading.local.state import Layout

KEPT_REVISIONS = 20
"""So many revisions of a service stay although nothing needs them, newest first. Source: Knative Serving,
``config-gc``, ``min-non-active-revisions``."""

_RELEASE_ANNOTATIONS = ("lading.dev/rollout", "lading.dev/history")


def superfluous(service: Object, revisions: Iterable[Object]) -> list[Object]:
    """The revisions of a service that may be removed.

    None of them has traffic or a tag, is the newest that was made or that was ready, or is named by the release that is
    open or by the history that ``lading rollback`` goes back to.

    Args:
        service: The service.
        revisions: All that it has.
    """
    needed = _needed(service)
    idle = [revision for revision in revisions if revision["metadata"]["name"] not in needed]
    return sorted(idle, key=_age, reverse=True)[KEPT_REVISIONS:]


def remove_log(layout: Layout, revision: Object) -> None:
    """Remove what a revision's process said.

    Raises:
        StorageError: it cannot be removed.
    """
    log = layout.log(*_names(revision))
    with storage_errors(log):
        for path in (log, logs.rotated(log)):
            path.unlink(missing_ok=True)


def remove_unpacked(layout: Layout, used: Iterable[str]) -> None:
    """Remove the directories of unpacked images, but not of those that are used. The image store keeps every image.

    Args:
        layout: Where they are.
        used: Image references. They are read after nothing can be unpacked any more.

    Raises:
        StorageError: a directory cannot be removed.
    """
    with UNPACKING, storage_errors(layout.rootfs):
        kept = {directory_of(layout, image) for image in used}
        for directory in layout.rootfs.iterdir():
            if directory in kept:
                continue
            gone = directory
            if not directory.name.startswith("."):  # what is half removed must not look like an image
                gone = directory.rename(layout.rootfs / f".gone.{directory.name}")
            shutil.rmtree(gone, ignore_errors=True)
        drop_images(layout, frozenset(directory.name for directory in kept))


def _needed(service: Object) -> set[str]:
    status, annotations = service.get("status", {}), service["metadata"].get("annotations", {})
    lines = [*service["spec"].get("traffic", []), *status.get("traffic", [])]
    needed = {line.get("revisionName", "") for line in lines}
    needed |= {status.get(f"latest{which}RevisionName", "") for which in ("Created", "Ready")}
    needed.add((service["spec"]["template"].get("metadata") or {}).get("name", ""))
    for name in _RELEASE_ANNOTATIONS:
        needed |= _strings(annotations.get(name, ""))
    return needed


def _strings(text: str) -> set[str]:
    """Every string in a JSON text: whatever its shape, a revision that it names is among them."""
    try:
        left: list[Any] = [json.loads(text or "[]")]
    except ValueError:
        return set()
    found = set()
    while left:
        item = left.pop()
        if isinstance(item, str):
            found.add(item)
        elif isinstance(item, Mapping):
            left += item.values()
        elif isinstance(item, list):
            left += item
    return found


def _age(revision: Object) -> tuple[str, int]:
    metadata = revision["metadata"]
    return metadata["creationTimestamp"], int(metadata["resourceVersion"])


def _names(revision: Object) -> tuple[str, str]:
    key = key_of(revision)
    return key.namespace, key.name
