"""The objects of the Knative Serving API as this project reads and writes them.

Source: Knative Serving API specification v1 (``serving.knative.dev/v1``).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from lading.releases import TrafficTarget
from lading.targets.base import Change, Rollout, ServiceState

API_VERSION = "serving.knative.dev/v1"
ROLLOUT_ANNOTATION = "lading.dev/rollout"
HISTORY_ANNOTATION = "lading.dev/history"
CANDIDATE_TAG = "candidate"
SERVICE_LABEL = "serving.knative.dev/service"
GENERATION_LABEL = "serving.knative.dev/configurationGeneration"

Object = dict[str, Any]


def service_state(body: Object, revisions: Iterable[Object]) -> ServiceState:
    """A service, with its revisions, as a value."""
    metadata, status = body["metadata"], body.get("status", {})
    ordered = sorted(revisions, key=_age)
    annotations = metadata.get("annotations", {})
    annotation = annotations.get(ROLLOUT_ANNOTATION)
    return ServiceState(
        name=metadata["name"],
        url=status.get("url", ""),
        # A line that follows the newest revision names none while none was ever ready.
        traffic=tuple(_traffic_target(line) for line in status.get("traffic", []) if line.get("revisionName")),
        revisions=tuple(revision["metadata"]["name"] for revision in ordered),
        images={r["metadata"]["name"]: r["spec"]["containers"][0]["image"] for r in ordered},
        rollout=Rollout.from_annotation(annotation) if annotation else None,
        version=version_of(body),
        history=Change.from_annotation(annotations.get(HISTORY_ANNOTATION, "")),
    )


def version_of(body: Object) -> str:
    """What was asked of a service: the generation of its spec, and the release it carries."""
    metadata = body["metadata"]
    return f"{metadata['uid']}/{metadata['generation']}/{rollout_of(body)}"


def rollout_of(body: Object) -> str:
    """The release that a service carries, as text."""
    return str(body["metadata"].get("annotations", {}).get(ROLLOUT_ANNOTATION, ""))


def annotate(body: Object, rollout: Rollout | None) -> None:
    """Write the release on a service."""
    annotations = body["metadata"].setdefault("annotations", {})
    if rollout is None:
        annotations.pop(ROLLOUT_ANNOTATION, None)
    else:
        annotations[ROLLOUT_ANNOTATION] = rollout.to_annotation()


def revision_name(service: str, template: Object, number: int = 1) -> str:
    """A name that ends in a hash of the template, so that the same image and settings are one revision.

    Args:
        service: Name of the service.
        template: Without a name.
        number: A revision that failed keeps its name for ever; the second try of the same template has another.
    """
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
    return f"{service}-{digest[:10]}" + (f"-{number}" if number > 1 else "")


def candidate_traffic(rollout: Rollout, revision: str = "") -> list[Object]:
    """What serves keeps its share; the candidate gets a tag. A first revision must take all: a split sums to 100.

    Args:
        rollout: The release.
        revision: The candidate, when it exists already; empty: the one that the template leads to.
    """
    candidate: Object = {"revisionName": revision, "latestRevision": False} if revision else {"latestRevision": True}
    candidate |= {"percent": 0 if rollout.before else 100, "tag": CANDIDATE_TAG}
    return [*(pinned(line) for line in rollout.before), candidate]


def pinned(line: TrafficTarget) -> Object:
    """A line of a split that names its revision."""
    body: Object = {"revisionName": line.revision, "percent": line.percent, "latestRevision": False}
    return {**body, "tag": line.tag} if line.tag else body


def condition(body: Object, *kinds: str) -> Object:
    """The worst of some conditions of an object, if it has them all; else its ``Ready``, and Unknown without one."""
    found: dict[str, Object] = {one["type"]: one for one in body.get("status", {}).get("conditions", [])}
    parts = [found[kind] for kind in kinds if kind in found]
    if not parts or len(parts) < len(kinds):
        return found.get("Ready", {"status": "Unknown"})
    order = ("False", "Unknown", "True")
    return min(parts, key=lambda part: order.index(part.get("status", "Unknown")))


def template_of(revision: Object, annotations: Iterable[str]) -> Object:
    """The template that led to a revision.

    Args:
        revision: As the platform reports it.
        annotations: Those of templates; the platform adds others to revisions.
    """
    metadata: Mapping[str, Any] = revision["metadata"]
    there = metadata.get("annotations", {})
    kept = {name: there[name] for name in sorted(annotations) if name in there}
    return {"metadata": {"name": metadata["name"], "annotations": kept}, "spec": revision["spec"]}


def _traffic_target(line: Object) -> TrafficTarget:
    return TrafficTarget(line["revisionName"], line.get("percent") or 0, line.get("tag") or "", line.get("url") or "")


def _age(revision: Object) -> tuple[int, str]:
    """Sorts the newest revision first."""
    generation = revision["metadata"].get("labels", {}).get(GENERATION_LABEL, "0")
    return -int(generation), revision["metadata"]["name"]
