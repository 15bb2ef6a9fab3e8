"""An API server with Knative Serving, as far as a client sees it: revisions really run, on a local target behind it.

What the local target lacks is put in between: defaults of templates, secrets, and an ingress that knows services by
their names only. A template is kept as it was sent in an annotation of the local one.
"""

import copy
import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from fakes.service import JsonService, Raw, Refused

from lading.results import LocalEndpoint

_SENT = "fake.test/sent"
_DEADLINE = "serving.knative.dev/progress-deadline"


class KnativeServer(JsonService):
    """``secrets``: values by name and key. ``token``: what a kubeconfig must bring.

    ``answers_lost``: so many of the next writes are done, and their answers are an error. ``refuse_puts``: answers
    that the next writes get instead (code, message, headers). ``waits_for``: what no revision comes to be ready for.
    """

    creator = "system:admin"

    def __init__(self, local: LocalEndpoint) -> None:
        super().__init__()
        self._local = local
        self.token = "a-token-of-the-cluster"
        self.answers_lost, self.waits_for = 0, ""
        self.refuse_puts: list[tuple[int, str, dict[str, str]]] = []
        self.secrets = {"token": {"1": "of the secret"}}

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        self.admit(method, path)
        if method == "PUT" and self.refuse_puts:
            code, message, more = self.refuse_puts.pop(0)
            raise Refused(code, message, headers=more)
        if method in ("POST", "PUT") and path.startswith("/apis/"):
            self.check(body)
            body = self._to_local(body)
        headers = {"Authorization": f"Bearer {self._local.token}", "Content-Type": "application/json"}
        target = path + (f"?{urlencode(query)}" if query else "")
        answer = forward(self._local.url, method, target, headers, body)
        found = json.loads(answer.content)
        if self.answers_lost and method == "PUT":
            self.answers_lost -= 1
            raise Refused(503, "The service is currently unavailable.")
        if answer.code >= 400:
            raise self.refusal(answer.code, found["message"], body)
        for one in found.get("items", [found]):
            self._to_client(one)
        return found

    def admit(self, method: str, path: str) -> None:
        """Refuse who may not ask."""

    def check(self, body: Any) -> None:
        """Refuse what the platform does not take."""

    def refusal(self, code: int, message: str, body: Any) -> Refused:
        """The platform's way to say no."""
        return Refused(code, message)

    def complete(self, spec: dict[str, Any]) -> None:
        """The defaults of the specification of a revision."""
        spec.setdefault("containerConcurrency", 0)
        spec.setdefault("timeoutSeconds", 300)
        container = spec["containers"][0]
        container.setdefault("name", "user-container")
        if "readinessProbe" in container:
            container["readinessProbe"].setdefault("successThreshold", 1)

    def start_seconds(self, template: dict[str, Any]) -> str:
        """How long a revision may take."""
        return str((template.get("metadata", {}).get("annotations") or {}).get(_DEADLINE, "60s"))

    def outside(self, service: str, tag: str, url: str) -> str:
        """The URL that clients see instead of the local one."""
        return url

    def _to_local(self, body: dict[str, Any]) -> dict[str, Any]:
        body = copy.deepcopy(body)
        template = body["spec"]["template"] = _without_empty(body["spec"]["template"])
        self.complete(template["spec"])
        sent = json.dumps(template, sort_keys=True)
        for item in template["spec"]["containers"][0].get("env", []):
            if "valueFrom" in item:
                source = item.pop("valueFrom")["secretKeyRef"]
                item["value"] = self._secret(source["name"], source["key"])
        metadata = {"annotations": {_SENT: sent, _DEADLINE: self.start_seconds(template)}}
        template["metadata"] = {**metadata, **{k: v for k, v in template.get("metadata", {}).items() if k == "name"}}
        return body

    def _secret(self, name: str, key: str) -> str:
        try:
            return self.secrets[name][key]
        except KeyError as error:
            raise Refused(400, f"Secret {name}/versions/{key} was not found") from error

    def _to_client(self, body: dict[str, Any]) -> None:
        if body.get("kind") == "Service":
            body["spec"]["template"] = json.loads(body["spec"]["template"]["metadata"]["annotations"][_SENT])
            body["metadata"].setdefault("annotations", {})["serving.knative.dev/creator"] = self.creator
            for one in body.get("status", {}).get("conditions", []):
                if self.waits_for and one["type"] == "ConfigurationsReady":
                    one |= {"status": "Unknown", "reason": "Deploying", "message": self.waits_for}
            self._move_urls(body["metadata"]["name"], body.get("status", {}))
        elif body.get("kind") == "Revision":
            sent = json.loads(body["metadata"]["annotations"][_SENT])
            body["spec"] = sent["spec"]
            annotations = sent.get("metadata", {}).get("annotations", {})
            body["metadata"]["annotations"] = {**annotations, "serving.knative.dev/creator": self.creator}

    def _move_urls(self, service: str, status: dict[str, Any]) -> None:
        if "url" in status:
            status["url"] = status["address"]["url"] = self.outside(service, "", status["url"])
        for line in status.get("traffic", []):
            if "url" in line:
                line["url"] = self.outside(service, line["tag"], line["url"])


class NamedKnativeServer(KnativeServer):
    """One whose services have names that lead nowhere: only ``ingress`` knows them."""

    def __init__(self, local: LocalEndpoint) -> None:
        super().__init__(local)
        self.ingress = Ingress()

    def outside(self, service: str, tag: str, url: str) -> str:
        host = f"{tag}-{service}.models.example.invalid" if tag else f"{service}.models.example.invalid"
        self.ingress.hosts[host] = url
        return f"http://{host}"

    def stop(self) -> None:
        self.ingress.stop()
        super().stop()


class Ingress(JsonService):
    """``hosts``: where requests to a host go."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, str] = {}

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        upstream = self.hosts.get(self.request_headers["Host"])
        if upstream is None:
            raise Refused(404, f"no service {self.request_headers['Host']}")
        return forward(upstream, method, path, {"Content-Type": "application/json"}, body)


def _without_empty(value: Any) -> Any:
    """What a typed server keeps of an object: empty lists, objects and texts are as if they were not there."""
    if isinstance(value, dict):
        return {name: kept for name, one in value.items() if (kept := _without_empty(one)) not in ([], {}, "", None)}
    return [_without_empty(one) for one in value] if isinstance(value, list) else value


def forward(url: str, method: str, target: str, headers: dict[str, str], body: Any) -> Raw:
    """Send a request on; the answer as it came."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, target, content or None, headers)
        answer = connection.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower().startswith(("x-", "content-type"))}
        return Raw(answer.status, answer.read(), kept)
    finally:
        connection.close()
