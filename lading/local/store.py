"""The objects on disk: one JSON file each, written atomically, with optimistic locking.

Source: Kubernetes API conventions: ``uid`` and ``creationTimestamp`` are given once, ``generation`` counts changes of
the specification, ``resourceVersion`` changes with every write and guards against lost updates.
"""

import copy
import json
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lading.errors import Conflict, LadingError, NotFound, StorageError
from lading.files import storage_errors, write_atomic
from lading.local.objects import Key, Object, key_of, now

_LOG = logging.getLogger(__name__)

_EVENTS = 1000


class Expired(LadingError):
    """Changes since a version are asked for that are no longer known: list the objects anew."""


@dataclass(frozen=True)
class Event:
    """A change of an object, as a watch tells it."""

    type: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    plural: str
    body: Object
    """The object after the change; with ``DELETED`` as it was, at the version of the deletion."""


class Store:
    """Objects by kind and key. Everything returned is a copy; every method is safe to call from any thread.

    Args:
        directory: Holds ``NAMESPACE/PLURAL/NAME.json``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._objects: dict[tuple[str, Key], Object] = {}
        self._unreadable: dict[tuple[str, Key], str] = {}
        self._listeners: list[Callable[[str, Key], None]] = []
        self.lock = threading.RLock()
        """Held over a read and the write that rests on it."""
        self._changed = threading.Condition(self.lock)
        self._events: deque[Event] = deque()
        self._load()
        # Versions must never repeat, also when the newest object was deleted before a restart: start from the clock.
        newest = max((version_of(o) for o in self._objects.values()), default=0)
        self._version = max(newest, time.time_ns() // 1_000_000)
        self._forgotten = self._version  # changes up to here cannot be told

    def subscribe(self, listener: Callable[[str, Key], None]) -> None:
        """Call ``listener(plural, key)`` after every write."""
        self._listeners.append(listener)

    def get(self, plural: str, key: Key) -> Object:
        """One object.

        Raises:
            NotFound: there is none.
            StorageError: its file cannot be read.
        """
        with self.lock:
            self._check_readable(plural, key)
            if (plural, key) not in self._objects:
                raise NotFound(f'{plural}.serving.knative.dev "{key.name}" not found in namespace {key.namespace}')
            return copy.deepcopy(self._objects[plural, key])

    def find(self, plural: str, key: Key) -> Object | None:
        """One object, or None when there is none that can be read."""
        with self.lock:
            return copy.deepcopy(self._objects.get((plural, key)))

    def unreadable(self, plural: str, key: Key) -> bool:
        """Whether there is an object whose file cannot be read."""
        return (plural, key) in self._unreadable

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, by name; of every namespace when none is given."""
        with self.lock:
            found = [
                copy.deepcopy(body)
                for (kind, key), body in self._objects.items()
                if kind == plural and namespace in (None, key.namespace)
            ]
        return sorted(found, key=lambda body: str(key_of(body)))

    def version(self) -> str:
        """The version of the newest write."""
        with self.lock:
            return str(self._version)

    def changes(self, plural: str, since: int, *, seconds: float) -> tuple[tuple[Event, ...], int]:
        """What happened to the objects of a kind, and the version up to which this tells it.

        Args:
            plural: The kind.
            since: Only later changes count.
            seconds: How long to wait for any change at all.

        Raises:
            Expired: it is not known what happened since then.
        """
        with self._changed:
            if since < self._forgotten:
                raise Expired(f"the changes since version {since} are no longer known; list the objects anew")
            self._changed.wait_for(lambda: self._version > since, timeout=seconds)
            found = tuple(e for e in self._events if e.plural == plural and version_of(e.body) > since)
            return copy.deepcopy(found), self._version

    def create(self, plural: str, body: Object, *, dry_run: bool = False) -> Object:
        """Add an object; with ``dry_run`` only say what would be added.

        Raises:
            Conflict: there is one of this name.
            StorageError: it cannot be written; nothing was added.
        """
        key = key_of(body)
        with self.lock:
            self._check_readable(plural, key)
            if (plural, key) in self._objects:
                raise Conflict(f'{plural}.serving.knative.dev "{key.name}" already exists', status=409)
            given = {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": now()}
            return self._write(plural, {**body, "metadata": {**body["metadata"], **given}}, dry_run=dry_run)

    def update(self, plural: str, body: Object, *, dry_run: bool = False) -> Object:
        """Change metadata and specification of an object; its status stays. With ``dry_run`` only say what it would be.

        Raises:
            NotFound: there is none of this name.
            Conflict: ``metadata.resourceVersion`` is given and is not the current one.
            StorageError: it cannot be written; nothing changed.
        """
        with self.lock:
            old = self.get(plural, key_of(body))
            version = body["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise Conflict(
                    f'Operation cannot be fulfilled on {plural}.serving.knative.dev "{key_of(body).name}": the object '
                    "has been modified; please apply your changes to the latest version and try again",
                    status=409,
                )
            given = ("uid", "creationTimestamp", "generation", "resourceVersion")
            kept = {name: old["metadata"][name] for name in given}
            if body["spec"] != old["spec"]:
                kept["generation"] += 1
            new = {**body, "metadata": {**body["metadata"], **kept}, "status": old.get("status", {})}
            # What changes nothing is not written, so that it wakes nobody. Source: Kubernetes API conventions.
            return old if new == old else self._write(plural, new, dry_run=dry_run)

    def update_status(self, plural: str, key: Key, status: Object) -> None:
        """Change the status of an object; nothing is written when it is the same, or the object is gone.

        Raises:
            StorageError: it cannot be written; nothing changed.
        """
        with self.lock:
            old = self._objects.get((plural, key))
            if old is not None and old.get("status") != status:
                self._write(plural, {**old, "status": copy.deepcopy(status)})

    def delete(self, plural: str, key: Key) -> None:
        """Remove an object, also one whose file cannot be read; nothing happens when there is none.

        Raises:
            StorageError: its file cannot be removed.
        """
        with self.lock:
            path = self._path(plural, key)
            with storage_errors(path):
                path.unlink(missing_ok=True)
            self._unreadable.pop((plural, key), None)
            if (body := self._objects.pop((plural, key), None)) is not None:
                self._version += 1
                self._tell("DELETED", plural, _at_version(body, self._version))
        self._notify(plural, key)

    def _write(self, plural: str, body: Object, *, dry_run: bool = False) -> Object:
        version = self._version + 1
        body = copy.deepcopy(_at_version(body, version))
        if dry_run:
            return body
        key = key_of(body)
        write_atomic(self._path(plural, key), json.dumps(body, indent=1), mode=0o600)
        known = (plural, key) in self._objects
        self._objects[plural, key], self._version = body, version
        self._tell("MODIFIED" if known else "ADDED", plural, body)
        self._notify(plural, key)
        return copy.deepcopy(body)

    def _tell(self, kind: str, plural: str, body: Object) -> None:
        self._events.append(Event(kind, plural, body))
        if len(self._events) > _EVENTS:
            self._forgotten = version_of(self._events.popleft().body)
        self._changed.notify_all()

    def _notify(self, plural: str, key: Key) -> None:
        for listener in self._listeners:
            listener(plural, key)

    def _path(self, plural: str, key: Key) -> Path:
        return self._directory / key.namespace / plural / f"{key.name}.json"

    def _check_readable(self, plural: str, key: Key) -> None:
        if (plural, key) in self._unreadable:
            raise StorageError(
                f"{self._unreadable[plural, key]}: restore the file and start the target again, or delete the object"
            )

    def _load(self) -> None:
        """Read every file; one that cannot be read is reported when its object is asked for, and others still work."""
        for leftover in self._directory.glob("*/*/.*.json.*"):  # of an atomic write that was cut off
            leftover.unlink()
        for path in sorted(self._directory.glob("*/*/*.json")):
            plural, key = path.parent.name, Key(path.parent.parent.name, path.stem)
            try:
                body = json.loads(path.read_bytes())
                if key_of(body) != key or not version_of(body):
                    raise ValueError("it describes another object")
                self._objects[plural, key] = body
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._unreadable[plural, key] = f"the stored object {path} cannot be read ({error!r})"
                _LOG.error("%s", self._unreadable[plural, key])


def version_of(body: Object) -> int:
    """The version of an object's last write."""
    return int(body["metadata"]["resourceVersion"])


def _at_version(body: Object, version: int) -> Object:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
