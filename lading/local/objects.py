"""The shape of the objects: names, kinds, conditions, and what of a template makes a revision.

Source: Knative Serving API specification v1; Kubernetes API conventions (conditions, generation, resourceVersion).
"""

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

API_VERSION = "serving.knative.dev/v1"
SERVICES, REVISIONS = "services", "revisions"
KINDS = {SERVICES: "Service", REVISIONS: "Revision"}

SERVICE_LABEL = "serving.knative.dev/service"
CONFIGURATION_LABEL = "serving.knative.dev/configuration"
GENERATION_LABEL = "serving.knative.dev/configurationGeneration"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
TEMPLATE_ANNOTATION = "lading.dev/template-digest"
"""Digest of the template that a revision was made of: tells whether a template is the same as before."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

Object = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """Names an object of one kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(body: Mapping[str, Any]) -> Key:
    """The key of an object."""
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def service_key(revision: Mapping[str, Any]) -> Key:
    """The key of the service that a revision belongs to."""
    return Key(revision["metadata"]["namespace"], revision["metadata"]["labels"][SERVICE_LABEL])


def now() -> str:
    """The time as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def template_digest(template: Mapping[str, Any]) -> str:
    """Digest of everything in a revision template but its name."""
    metadata = {name: value for name, value in template.get("metadata", {}).items() if name != "name" and value}
    content = json.dumps([metadata, template["spec"]], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def parse_duration(text: str) -> int | None:
    """Seconds of a Go duration in whole hours, minutes and seconds (``90s``, ``1m30s``); None when it is not one."""
    found = _DURATION.fullmatch(text)
    if not found or not text:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def condition(kind: str, status: bool | None, reason: str = "", message: str = "") -> Object:
    """One condition; ``status`` None is Unknown."""
    word = "Unknown" if status is None else str(status)
    body = {"type": kind, "status": word, "reason": reason, "message": message}
    return {name: value for name, value in body.items() if value}


def with_times(conditions: list[Object], before: list[Object]) -> list[Object]:
    """Conditions with the time of their last change; one whose status is as before keeps its time."""
    old = {item["type"]: item for item in before}
    timed = []
    for item in conditions:
        same = old.get(item["type"], {}).get("status") == item["status"]
        timed.append({**item, "lastTransitionTime": old[item["type"]]["lastTransitionTime"] if same else now()})
    return timed


def condition_of(body: Mapping[str, Any], kind: str = "Ready") -> Object:
    """A condition of an object; one that is not there yet is Unknown."""
    conditions: list[Object] = body.get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {"type": kind, "status": "Unknown"})
