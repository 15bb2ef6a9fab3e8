"""Cloud Run: its Admin API v1 with IAM, and services that ask for ID tokens. Revisions run on a local target behind it.

Refusals are those of the real service where their texts are known (public issue trackers); annotations per kind are
those of https://cloud.google.com/run/docs/reference/rest/v1/ObjectMeta.
"""

import re
import uuid
from typing import Any

from fakes.iam_server import RUNNER, IamServer, google_error
from fakes.knative_server import KnativeServer, forward
from fakes.service import JsonService, Refused

from lading.results import LocalEndpoint

_SYSTEM = re.compile(r"(run\.googleapis\.com|autoscaling\.knative\.dev|serving\.knative\.dev|cloud\.googleapis\.com)/")
_EITHER = {"run.googleapis.com/client-name", "run.googleapis.com/client-version", "serving.knative.dev/creator"}
_OF_SERVICE = _EITHER | {
    "run.googleapis.com/binary-authorization", "run.googleapis.com/custom-audiences", "run.googleapis.com/description",
    "run.googleapis.com/ingress", "run.googleapis.com/ingress-status", "run.googleapis.com/invoker-iam-disabled",
    "run.googleapis.com/launch-stage", "run.googleapis.com/maxScale", "run.googleapis.com/minScale",
    "run.googleapis.com/operation-id", "run.googleapis.com/scalingMode", "run.googleapis.com/urls",
    "serving.knative.dev/lastModifier",
}  # fmt: skip
_OF_REVISION = _EITHER | {
    "autoscaling.knative.dev/maxScale", "autoscaling.knative.dev/minScale", "run.googleapis.com/cloudsql-instances",
    "run.googleapis.com/cpu-throttling", "run.googleapis.com/encryption-key",
    "run.googleapis.com/execution-environment", "run.googleapis.com/network-interfaces", "run.googleapis.com/secrets",
    "run.googleapis.com/sessionAffinity", "run.googleapis.com/startup-cpu-boost",
    "run.googleapis.com/vpc-access-connector", "run.googleapis.com/vpc-access-egress",
}  # fmt: skip
_POLICY_PATH = re.compile(r"/v1/projects/[^/]+/locations/[^/]+/services/([^/:]+):(get|set)IamPolicy")
_INVOKER = "roles/run.invoker"


class CloudRunServer(KnativeServer):
    """``enabled``: the API of the project. ``invokers``: who may ask every service. ``policies``: by service."""

    creator = RUNNER

    def __init__(self, local: LocalEndpoint, iam: IamServer) -> None:
        super().__init__(local)
        self.token = ""
        self.iam, self.enabled = iam, True
        self.invokers = {RUNNER}
        self.policies: dict[str, dict[str, Any]] = {}
        self.changed_meanwhile = 0
        """So many of the next writes of a policy find that somebody else wrote one."""
        self.fronts: dict[str, Front] = {}

    def stop(self) -> None:
        for front in self.fronts.values():
            front.stop()
        super().stop()

    def error(self, code: int, message: str) -> Any:
        return google_error(code, message)

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        found = _POLICY_PATH.fullmatch(path)
        if not found:
            return super().handle(method, path, query, body)
        self.admit(method, path)
        service, verb = found.groups()
        policy = self.policies.setdefault(service, {"etag": uuid.uuid4().hex, "version": 1})
        if (verb, method) == ("get", "GET"):
            return policy
        if self.changed_meanwhile:
            self.changed_meanwhile -= 1
            policy["etag"] = uuid.uuid4().hex
        if body["policy"].get("etag") != policy["etag"]:
            words = "There were concurrent policy changes. Please retry the whole read-modify-write."
            raise Refused(409, words)
        self.policies[service] = {**body["policy"], "etag": uuid.uuid4().hex}
        return self.policies[service]

    def admit(self, method: str, path: str) -> None:
        token = self.request_headers.get("Authorization", "").removeprefix("Bearer ")
        if self.iam.claims(token) is None:
            raise Refused(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
                "valid authentication credential.",
            )
        if not self.enabled:
            raise Refused(
                403,
                "Cloud Run Admin API has not been used in project demo-project before or it is disabled. Enable it by "
                "visiting https://console.developers.google.com/apis/api/run.googleapis.com/overview then retry.",
            )

    def check(self, body: Any) -> None:
        template = body["spec"]["template"]
        wrong = _annotation_violations(body["metadata"], "metadata.annotations", _OF_SERVICE, "Service")
        wrong += _annotation_violations(
            template.get("metadata", {}), "spec.template.metadata.annotations", _OF_REVISION, "Revision"
        )
        wrong += _revision_violations(template)
        if wrong:
            raise _invalid(wrong)

    def refusal(self, code: int, message: str, body: Any) -> Refused:
        if "exists with another template" in message:
            name = body["spec"]["template"]["metadata"]["name"]
            return Refused(409, f"Revision named '{name}' with different configuration already exists.")
        if code == 409 and "already" not in message:
            name = body["metadata"]["name"] if isinstance(body, dict) else ""
            version = body["metadata"].get("resourceVersion") if isinstance(body, dict) else ""
            return Refused(
                409, f"Conflict for resource '{name}': version '{version}' was specified but is not current."
            )
        return _invalid([("", message)]) if code == 422 else Refused(code, message)

    def complete(self, spec: dict[str, Any]) -> None:
        spec.setdefault("containerConcurrency", 80)
        spec.setdefault("timeoutSeconds", 300)
        spec.setdefault("serviceAccountName", "1-compute@developer.gserviceaccount.com")
        container = spec["containers"][0]
        limits = container.setdefault("resources", {}).setdefault("limits", {})
        limits.setdefault("cpu", "1000m")
        limits.setdefault("memory", "512Mi")

    def start_seconds(self, template: dict[str, Any]) -> str:
        probe = template["spec"]["containers"][0].get("startupProbe", {})
        return f"{probe.get('periodSeconds', 10) * probe.get('failureThreshold', 3)}s"

    def outside(self, service: str, tag: str, url: str) -> str:
        with self.lock:
            if url not in self.fronts:
                self.fronts[url] = Front(self, url)
            front = self.fronts[url]
            # The local target gives the port of a service that is gone to another one.
            front.service, front.is_service = service, not tag
        return front.url

    def audience(self, service: str) -> str:
        """The URL of a service."""
        with self.lock:
            return next(f.url for f in self.fronts.values() if f.service == service and f.is_service)

    def members(self, service: str) -> set[str]:
        bindings = self.policies.get(service, {}).get("bindings", [])
        return {member for one in bindings if one["role"] == _INVOKER for member in one["members"]}


class Front(JsonService):
    """What stands before a service, or before one of its tags: lets in who may ask."""

    def __init__(self, run: CloudRunServer, upstream: str) -> None:
        super().__init__()
        self._run, self._upstream = run, upstream
        self.service, self.is_service = "", False

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        members = self._run.members(self.service)
        if "allUsers" not in members:
            self._check(self.request_headers.get("Authorization", ""), members)
        return forward(self._upstream, method, path, {"Content-Type": "application/json"}, body)

    def error(self, code: int, message: str) -> Any:
        return f"<html><head><title>{code}</title></head><body><h1>Error: {message}</h1></body></html>"

    def _check(self, sent: str, members: set[str]) -> None:
        if not sent:
            raise Refused(403, "Forbidden: Your client does not have permission to get URL / from this server.")
        claims = self._run.iam.claims(sent.removeprefix("Bearer "))
        if claims is None or claims.get("aud") != self._run.audience(self.service):
            words = 'Bearer error="invalid_token" error_description="The access token could not be verified"'
            raise Refused(401, "Unauthorized", headers={"WWW-Authenticate": words})
        if claims["email"] not in self._run.invokers and f"serviceAccount:{claims['email']}" not in members:
            raise Refused(403, "Forbidden: Your client does not have permission to get URL / from this server.")


def _invalid(violations: list[tuple[str, str]]) -> Refused:
    found = [{"field": field, "description": words} for field, words in violations]
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": found}]
    return Refused(400, "invalid", body=google_error(400, "The request has errors", details))


def _annotation_violations(metadata: dict[str, Any], where: str, known: set[str], kind: str) -> list[tuple[str, str]]:
    found = []
    for name in metadata.get("annotations") or {}:
        if _SYSTEM.match(name) and name not in known:
            other = "Revision" if kind == "Service" else "Service"
            elsewhere = f" Supported kinds are: {other}" if name in _OF_SERVICE | _OF_REVISION else ""
            found.append((where, f"Annotation '{name}' is not supported on resources of kind '{kind}'.{elsewhere}"))
    return found


def _revision_violations(template: dict[str, Any]) -> list[tuple[str, str]]:
    spec = template["spec"]
    where = "spec.template.spec.containers[0]"
    container = spec["containers"][0]
    found = []
    if "readinessProbe" in container:
        found.append((f"{where}.readiness_probe", f"{where}.readiness_probe should be empty"))
    if "requests" in container.get("resources", {}):
        found.append((f"{where}.resources.requests", f"{where}.resources.requests should be empty"))
    probe = container.get("startupProbe", {})
    if probe.get("timeoutSeconds", 1) > probe.get("periodSeconds", 10):
        found.append((f"{where}.startup_probe", "timeout_seconds must be at most period_seconds"))
    if not 0 <= spec.get("containerConcurrency", 80) <= 1000:
        found.append(("spec.template.spec.container_concurrency", "must be between 0 and 1000"))
    if not 1 <= spec.get("timeoutSeconds", 300) <= 3600:
        found.append(("spec.template.spec.timeout_seconds", "must be between 1 and 3600"))
    return found
