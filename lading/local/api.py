"""The API: which object a path names, and what a request does to it.

Source: Knative Serving API specification v1; Kubernetes API conventions (lists, watches, merge patches, dry runs).
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lading.errors import Conflict, InvalidInput
from lading.local import cloud_run, discovery
from lading.local.admission import admit_service
from lading.local.counts import BOUNDS_MILLISECONDS, Counts
from lading.local.objects import API_VERSION, KINDS, REVISIONS, SERVICES, Key, Object, service_key
from lading.local.refusals import Refused
from lading.local.selectors import select
from lading.local.store import Store
from lading.local.tables import table, wants_table

_PATH = re.compile(
    rf"/apis/{re.escape(API_VERSION)}(?:/namespaces/([^/]+))?/({SERVICES}|{REVISIONS})(?:/([^/]+))?", re.ASCII
)
_TRAFFIC = re.compile(r"/apis/local\.lading\.dev/v1/namespaces/([^/]+)/services/([^/]+)/traffic", re.ASCII)
"""lading's own: Knative's API has nothing of the kind."""
_MERGE_PATCH = "application/merge-patch+json"  # RFC 7386
_WATCH_SECONDS = 300.0
_TICK_SECONDS = 1.0


@dataclass(frozen=True)
class Request:
    """A request that was let in."""

    method: str
    path: str
    """Without query, and without escapes."""
    query: Mapping[str, str]
    content_type: str = ""
    """Of the body, without parameters."""
    accept: str = ""
    body: Any = None
    """Parsed JSON, or None."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be stored."""
        return bool(self.query.get("dryRun"))

    @property
    def watch(self) -> bool:
        """Whether changes are asked for."""
        return self.query.get("watch") in ("1", "true")


class Seen(Protocol):
    """Who counts the users' requests."""

    since: str

    def counts(self, name: str) -> Counts:
        """Of a revision, by its uid."""


Answer = Object | Iterator[Object | None]
"""A body; or the events of a watch, and None now and then when there is none."""


class Api:
    """Answers requests that were let in.

    Args:
        store: The objects.
        seen: What was seen of the users' requests.
    """

    def __init__(self, store: Store, seen: Seen) -> None:
        self._store, self._seen = store, seen

    def answer(self, request: Request) -> tuple[int, Answer]:
        """The status and the body for a request.

        Raises:
            LadingError: what the request asks for cannot be.
        """
        found = _PATH.fullmatch(request.path)
        if not found:
            return 200, self._beside(request)
        namespace, plural, name = found.groups()
        if request.method == "GET" and not name:
            return 200, self._watch(plural, namespace, request) if request.watch else self._list(plural, found, request)
        if request.method == "POST" and namespace and not name and plural == SERVICES:
            return 201, self._create(request, namespace)
        if namespace and name:
            key = Key(namespace, name)
            if request.method == "GET":
                return 200, self._shown(plural, self._store.get(plural, key), request)
            if request.method == "DELETE":
                return 200, self._delete(plural, key, request)
            if request.method in ("PUT", "PATCH") and plural == SERVICES:
                return 200, self._change(key, request)
        raise _not_allowed(request)

    def _beside(self, request: Request) -> Object:
        """What is asked beside the objects."""
        document = discovery.document(request.path)
        if document is not None and request.method == "GET":
            return document
        traffic = _TRAFFIC.fullmatch(request.path)
        if document is not None or (traffic and request.method != "GET"):
            raise _not_allowed(request)
        if traffic:
            return self._traffic(Key(traffic[1], traffic[2]))
        return cloud_run.answer(self._store, request.method, request.path, request.body)

    def _traffic(self, key: Key) -> Object:
        """What was seen of the users' requests to each revision of a service."""
        self._store.get(SERVICES, key)
        own = [one["metadata"] for one in self._store.list(REVISIONS, key.namespace) if service_key(one) == key]
        return {
            "kind": "ServiceTraffic",
            "since": self._seen.since,
            "boundsMilliseconds": list(BOUNDS_MILLISECONDS),
            "revisions": {one["name"]: self._seen.counts(one["uid"]).to_json() for one in own},
        }

    def _list(self, plural: str, found: "re.Match[str]", request: Request) -> Object:
        with self._store.lock:
            items, version = self._store.list(plural, found[1]), self._store.version()
        items = select(
            items, labels=request.query.get("labelSelector", ""), fields=request.query.get("fieldSelector", "")
        )
        if wants_table(request.accept):
            return table(plural, items, version)
        metadata = {"resourceVersion": version}
        return {"apiVersion": API_VERSION, "kind": f"{KINDS[plural]}List", "metadata": metadata, "items": items}

    def _watch(self, plural: str, namespace: str | None, request: Request) -> Iterator[Object | None]:
        """The events; what is wrong with the request is said before the first."""
        query = request.query
        if query.get("sendInitialEvents"):  # clients list instead when this is refused
            raise InvalidInput("sendInitialEvents: expected none, the local target has no streaming lists")
        since = query.get("resourceVersion", "0") or "0"
        seconds = query.get("timeoutSeconds", "") or str(int(_WATCH_SECONDS))
        if not since.isdigit() or not seconds.isdigit():
            raise InvalidInput(f"resourceVersion, timeoutSeconds: expected digits, received {since!r}, {seconds!r}")
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        first: list[Object] = []
        version = int(since)
        if version == 0:  # all that is there comes first
            with self._store.lock:
                first, version = self._store.list(plural, namespace), int(self._store.version())
            first = select(first, labels=labels, fields=fields)
        self._store.changes(plural, version, seconds=0)  # says so now when the version is too old

        def events() -> Iterator[Object | None]:
            nonlocal version
            yield from ({"type": "ADDED", "object": self._shown(plural, body, request)} for body in first)
            end = time.monotonic() + min(float(seconds), _WATCH_SECONDS)
            while time.monotonic() < end:
                found, version = self._store.changes(plural, version, seconds=_TICK_SECONDS)
                for event in found:
                    mine = namespace in (None, event.body["metadata"]["namespace"])
                    if mine and select([event.body], labels=labels, fields=fields):
                        yield {"type": event.type, "object": self._shown(plural, event.body, request)}
                yield None

        return events()

    def _shown(self, plural: str, body: Object, request: Request) -> Object:
        if wants_table(request.accept):
            return table(plural, [body], body["metadata"]["resourceVersion"])
        return body

    def _create(self, request: Request, namespace: str) -> Object:
        with self._store.lock:
            admitted = admit_service(request.body, namespace, find_revision=self._find_revision)
            return self._store.create(SERVICES, admitted, dry_run=request.dry_run)

    def _change(self, key: Key, request: Request) -> Object:
        with self._store.lock:
            old, body = self._store.get(SERVICES, key), request.body
            if request.method == "PATCH":
                if request.content_type != _MERGE_PATCH:
                    raise Refused(
                        f"the local target takes patches of type {_MERGE_PATCH}, not {request.content_type or 'none'}",
                        code=415,
                        reason="UnsupportedMediaType",
                    )
                body = merged(old, body)
            admitted = admit_service(body, key.namespace, find_revision=self._find_revision)
            if admitted["metadata"]["name"] != key.name:
                raise InvalidInput(f"metadata.name: expected {key.name}, received {admitted['metadata']['name']}")
            return self._store.update(SERVICES, admitted, dry_run=request.dry_run)

    def _delete(self, plural: str, key: Key, request: Request) -> Object:
        with self._store.lock:
            body = self._store.find(plural, key)
            if body is None:
                self._check_there(plural, key)
            if body is not None and plural == REVISIONS:
                self._check_unused(body, key)
            if not request.dry_run:
                self._store.delete(plural, key)
                if plural == SERVICES:
                    cloud_run.forget(self._store, key)
        uid = {"uid": body["metadata"]["uid"]} if body else {}
        details = {"name": key.name, "group": "serving.knative.dev", "kind": plural, **uid}
        return {"apiVersion": "v1", "kind": "Status", "status": "Success", "details": details}

    def _check_there(self, plural: str, key: Key) -> None:
        """Say that there is nothing to delete; a service whose file cannot be read can be deleted all the same."""
        if plural == REVISIONS or not self._store.unreadable(plural, key):
            self._store.get(plural, key)

    def _check_unused(self, revision: Object, key: Key) -> None:
        service = self._store.find(SERVICES, service_key(revision)) or {}
        spec, status = service.get("spec", {}), service.get("status", {})
        lines = [*spec.get("traffic", []), *status.get("traffic", [])]
        if any(line.get("revisionName") == key.name for line in lines):
            raise Conflict(f"revision {key.name} is part of the traffic of {service_key(revision).name}", status=409)
        if key.name == status.get("latestCreatedRevisionName"):
            raise Conflict(f"revision {key.name} is the newest of {service_key(revision).name}", status=409)

    def _find_revision(self, key: Key) -> Object | None:
        return self._store.find(REVISIONS, key)


def merged(old: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def _not_allowed(request: Request) -> Refused:
    return Refused(f"{request.method} is not allowed on {request.path}", code=405, reason="MethodNotAllowed")
