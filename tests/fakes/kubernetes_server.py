"""A Kubernetes API server of a few kinds, with what makes them happen: pods are processes on this machine.

Reads by kubectl and the ``kubernetes`` package, server-side apply, merge patches of the scale, the service proxy.
"""

import http.client
import json
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from fakes.kubernetes_controllers import Controllers, pod_object
from fakes.kubernetes_pods import Kubelet, Pod
from fakes.kubernetes_store import KINDS, ObjectStore, copied, qualified
from fakes.service import Refused, read_body

Object = dict[str, Any]
_OBJECT = re.compile(r"/(?:api|apis)/((?:[^/]+/)?v\d)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+))?(?:/(.+))?")
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict",
            415: "UnsupportedMediaType", 422: "Invalid", 429: "TooManyRequests", 503: "ServiceUnavailable"}  # fmt: skip
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class KubernetesServer(ObjectStore):
    """One namespace, ``models``; ``token``: empty for none, as kubectl sends none where there is no TLS.

    ``forbidden``: pairs of verb and plural that are answered 403. ``failures``: codes and messages that the next writes
    get. ``quota``: pods that may run. ``accounts``: service accounts. ``minor``: of the version.
    ``before_write``: called with plural and name before every write. ``writes``: each of them. ``asked``: verbs and
    plurals, as roles have them. ``lag_seconds``: how late nodes hear of endpoints.
    """

    def __init__(self, images: Path, directory: Path, *, gateway_api: bool = False, token: str = "token") -> None:
        super().__init__()
        self.kubelet = Kubelet(images, directory, self._secret)
        self.kinds = {k: v for k, v in KINDS.items() if gateway_api or not v[0].startswith("gateway")}
        self.token, self.minor, self.quota, self.accounts = token, "30", 100, {"default", "runner"}
        self.forbidden: set[tuple[str, str]] = set()
        self.failures: list[tuple[int, str]] = []
        self.before_write: Callable[[str, str], None] | None = None
        self.writes: list[str] = []
        self.asked: set[tuple[str, str]] = set()
        self.lag_seconds = 0.0
        self._seen: dict[str, deque[tuple[float, list[Pod]]]] = {}
        self._controllers, self._over = Controllers(self), threading.Event()
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._control, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        self._threads[1].join(10)
        self.kubelet.close()
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig file of this cluster."""
        cluster = {"name": "fake", "cluster": {"server": self.url}}
        user = {"name": "fake", "user": {"token": self.token}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": self.namespace}}
        body = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context]}
        path.write_text(yaml.safe_dump({**body, "current-context": "fake"}))
        return path

    def pods(self, revision: str) -> list[Pod]:
        """Those that are not ending."""
        found = list(self.kubelet.pods.values())
        return [pod for pod in found if pod.labels.get("lading.dev/revision") == revision and not pod.ending.is_set()]

    def endpoints(self, service: str) -> list[Pod]:
        """The ready pods of a Service."""
        with self.lock:
            body = self.objects.get(("endpointslices", f"{service}-slice"), {"endpoints": []})
            names = [one["targetRef"]["name"] for one in body["endpoints"] if one["conditions"]["ready"]]
            return [self.kubelet.pods[name] for name in names if name in self.kubelet.pods]

    def answer(self, method: str, url: str, headers: Any, raw: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, body (an object, or bytes) and headers."""
        parts = urlsplit(url)
        query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized")
        if method == "GET" and (found := self._discovery(parts.path)) is not None:
            return 200, found, {}
        match = _OBJECT.fullmatch(parts.path)
        if not match or self.kinds.get(match[3], ("",))[0] != match[1]:
            raise Refused(404, "the server could not find the requested resource")
        _, namespace, plural, name, below = match.groups()
        if plural == "services" and below and below.startswith("proxy"):
            self._allow("create" if method == "POST" else "get", "services/proxy", name)
            rest = below.removeprefix("proxy") + (f"?{parts.query}" if parts.query else "")
            return self._proxy(method, name, rest, headers, raw)
        verb = {"GET": "get" if name else "list", "PATCH": "patch", "DELETE": "delete"}.get(method, "update")
        self._allow(verb, plural + (f"/{below}" if below else ""), name)
        if method == "GET" and below == "log":
            return 200, self._log(name, query), {"Content-Type": "text/plain"}
        if method == "GET":
            return 200, self._get(plural, namespace, name) if name else self._list(plural, namespace, query), {}
        return self._write(method, plural, namespace, name, below, query, headers, raw)

    def _allow(self, verb: str, resource: str, name: str | None) -> None:
        self.asked.add((verb, resource))
        if (verb, resource) in self.forbidden:
            what = qualified(resource.partition("/")[0])
            which = what + (f' "{name}"' if name else "")
            raise Refused(
                403, f'{which} is forbidden: User "system:serviceaccount:{self.namespace}:lading" cannot {verb} '
                f'resource "{resource}" in API group "{what.partition(".")[2]}" in the namespace "{self.namespace}"',
            )  # fmt: skip

    def _write(
        self, method: str, plural: str, namespace: str, name: str, below: str | None, query: dict[str, str],
        headers: Any, raw: bytes,
    ) -> tuple[int, Any, dict[str, str]]:  # fmt: skip
        if self.before_write and "dryRun" not in query:
            self.before_write(plural, name)
        with self.lock:
            if self.failures:
                raise Refused(*self.failures.pop(0))
            if namespace != self.namespace:
                raise Refused(404, f'namespaces "{namespace}" not found')
            if "dryRun" not in query:
                self.writes.append(f"{method} {plural}/{name}" + (f"/{below}" if below else ""))
            if method == "DELETE":
                self._get(plural, namespace, name)
                self.drop(plural, name)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}, {}
            kind = headers.get("Content-Type", "").partition(";")[0]
            if method == "PATCH" and kind == "application/apply-patch+yaml" and not below:
                if (plural, name) not in self.objects:
                    self._allow("create", plural, name)
                return self.apply(plural, name, query, yaml.safe_load(raw))
            if method == "PATCH" and kind == "application/merge-patch+json":
                self._get(plural, namespace, name)
                body = copied(self.objects[plural, name])
                patched = _merged(body, json.loads(raw))
                self.check(patched, self.objects[plural, name])
                self.store(plural, patched, manager=query.get("fieldManager", "unknown"))
                return 200, self.objects[plural, name], {}
            raise Refused(415, f"the body of the request was in an unknown format: {kind}")

    def _get(self, plural: str, namespace: str, name: str) -> Object:
        with self.lock:
            if plural == "pods" and name in self.kubelet.pods:
                return pod_object(self.kubelet.pods[name], namespace)
            found = self.objects.get((plural, name))
            if found is None or found["metadata"]["namespace"] != namespace:
                raise Refused(404, f'{qualified(plural)} "{name}" not found')
            return self.shown(plural, found)

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> Object:
        wanted = dict(one.split("=", 1) for one in query.get("labelSelector", "").split(",") if one)
        api_version, kind, _ = KINDS[plural]
        with self.lock:
            if plural == "pods":
                found = [pod_object(pod, namespace) for pod in self.kubelet.pods.values()]
            else:
                found = self.view(plural)
            items = [one for one in found if wanted.items() <= one["metadata"].get("labels", {}).items()]
            items = items if plural == "pods" else [self.shown(plural, one) for one in items]
            for one in items:
                del one["apiVersion"], one["kind"]
            version = str(next(self.versions))
        return {
            "apiVersion": api_version,
            "kind": f"{kind}List",
            "metadata": {"resourceVersion": version},
            "items": items,
        }

    def _log(self, name: str, query: dict[str, str]) -> bytes:
        pod = self.kubelet.pods.get(name)
        if pod is None:
            raise Refused(404, f'pods "{name}" not found')
        path = pod.previous_log if query.get("previous") == "true" else pod.log
        if not path.exists():
            raise Refused(400, f'previous terminated container "server" in pod "{name}" not found')
        return b"".join(path.read_bytes().splitlines(keepends=True)[-int(query.get("tailLines", 1000)) :])

    def _proxy(self, method: str, name: str, rest: str, headers: Any, raw: bytes) -> tuple[int, Any, dict[str, str]]:
        service = re.sub(r"^https?:|:[^:]+$", "", name)
        if ("services", service) not in self.objects:
            raise Refused(404, f'services "{service}" not found')
        ready = self._routed(service)
        if ready is None:  # its Endpoints were not found; the message names what the request was for
            raise Refused(404, f'services "{service}" not found')
        if not ready:
            raise Refused(503, f'no endpoints available for service "{service}"')
        sent = {k: v for k, v in headers.items() if k.lower() not in {"authorization", "host", *_HOP}}
        return forward(random.choice(ready).port, method, rest or "/", sent, raw)

    def _routed(self, service: str) -> list[Pod] | None:
        """Where nodes and proxy send requests: they hear of a change ``lag_seconds`` later; None: have not heard of it.

        The API server's proxy looks at Endpoints, which another controller makes than EndpointSlices, and neither
        makes any for a Service without a selector.
        """
        now, ready = time.monotonic(), self.endpoints(service)
        if ("endpointslices", f"{service}-slice") not in self.objects:
            return None
        if not self.lag_seconds:
            return ready
        with self.lock:
            past = list(self._seen.get(service, ()))
        heard = [pods for at, pods in past if at <= now - self.lag_seconds]
        # What they knew first holds until they hear of more: of a Service that is new, nothing.
        return heard[-1] if heard else past[0][1] or None if past else ready

    def _discovery(self, path: str) -> Object | None:
        groups = sorted({v[0] for v in self.kinds.values() if "/" in v[0]})
        if path == "/version":
            return {"major": "1", "minor": self.minor, "gitVersion": f"v1.{self.minor}.0"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "/apis":
            found = [{"groupVersion": one, "version": one.split("/")[1]} for one in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": one["groupVersion"].split("/")[0], "versions": [one], "preferredVersion": one} for one in found
            ]}  # fmt: skip
        version = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
        resources = [
            {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind,
             "verbs": ["get", "list", "patch", "delete"], **({"shortNames": [short]} if short else {})}
            for plural, (found_in, kind, short) in self.kinds.items() if found_in == version
        ]  # fmt: skip
        return (
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
            if resources
            else None
        )

    def _secret(self, name: str) -> dict[str, str] | None:
        found = self.objects.get(("secrets", name))
        return found["stringData"] if found else None

    def _control(self) -> None:
        while not self._over.wait(0.02):
            with self.lock:
                self._controllers.step()
                for one in self.view("services") if self.lag_seconds else ():
                    name = one["metadata"]["name"]
                    past = self._seen.setdefault(name, deque(maxlen=100))
                    past.append((time.monotonic(), self.endpoints(name)))


def forward(port: int, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, Any, dict[str, str]]:
    """Ask a pod."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, raw or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, content, {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
    except (OSError, http.client.HTTPException) as error:
        raise Refused(503, f"error trying to reach service: {error}") from error
    finally:
        connection.close()


def _merged(body: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(body, dict):
        return patch
    body = {**body, **{name: _merged(body.get(name, {}), value) for name, value in patch.items()}}
    return {name: value for name, value in body.items() if value is not None}


class _Handler(BaseHTTPRequestHandler):
    cluster: KubernetesServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other's acknowledgement

    def any_method(self) -> None:
        raw = read_body(self)
        try:
            code, body, headers = self.cluster.answer(self.command, self.path, self.headers, raw)
        except Refused as error:
            code, headers = error.code, {}
            body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(error),
                    "reason": _REASONS.get(code, "InternalError"), "code": code}  # fmt: skip
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with suppress(ConnectionError):
            self.send_response(code)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = any_method

    def log_message(self, *args: object) -> None:
        pass
