"""What may be stored: a service is checked and completed first, so that the controller meets no surprise.

Source: Knative Serving API specification v1, and the validation of Knative Serving's webhooks.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

from lading.errors import InvalidInput
from lading.local.objects import (
    API_VERSION,
    PROGRESS_DEADLINE,
    TEMPLATE_ANNOTATION,
    Key,
    Object,
    parse_duration,
    template_digest,
)
from lading.values import ImageRef

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035 label, as Knative wants it
_NAME_RULE = "lower-case letters, digits and hyphens, at most 63, beginning with a letter"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
DEFAULT_TIMEOUT_SECONDS = 300


def admit_service(body: Any, namespace: str, *, find_revision: Callable[[Key], Object | None]) -> Object:
    """A service as it is to be stored: checked, completed, and without what only the server may set.

    Args:
        body: What the client sent.
        namespace: The namespace of the request.
        find_revision: Looks a revision up.

    Raises:
        InvalidInput: names everything that is wrong with it.
    """
    if not isinstance(body, dict):
        raise InvalidInput(f"expected a Service as a JSON object, received {type(body).__name__}")
    problems = _shape_problems(body, namespace)
    if not problems:
        body = _with_defaults(body, namespace)
        problems = [*_template_problems(body, namespace, find_revision), *_traffic_problems(body, find_revision)]
    if problems:
        raise InvalidInput("the service was refused: " + "; ".join(problems))
    admitted: Object = body
    return admitted


def _shape_problems(body: Object, namespace: str) -> list[str]:
    problems = []
    for field, expected in (("apiVersion", API_VERSION), ("kind", "Service")):
        if body.get(field) != expected:
            problems.append(f"{field}: expected {expected}, received {body.get(field)!r}")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not _is_name(metadata.get("name")):
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return [*problems, f"metadata.name: expected {_NAME_RULE}, received {name!r}"]
    if metadata.get("namespace", namespace) != namespace:
        problems.append(f"metadata.namespace: expected {namespace}, received {metadata['namespace']!r}")
    if not _NAME.fullmatch(namespace):
        problems.append(f"namespace: expected {_NAME_RULE}, received {namespace!r}")
    for owner, where in (
        (metadata, "metadata"),
        (_at(body, "spec", "template", "metadata") or {}, "template metadata"),
    ):
        problems += [
            f"{where}.{field}: expected an object of strings"
            for field in ("labels", "annotations")
            if not _is_strings(owner.get(field) or {})
        ]
    containers = _at(body, "spec", "template", "spec", "containers")
    if not isinstance(containers, list) or len(containers) != 1 or not isinstance(containers[0], dict):
        problems.append("spec.template.spec.containers: expected a list of one container")
    if not isinstance(_at(body, "spec", "traffic") or [], list):
        problems.append("spec.traffic: expected a list")
    return problems


def _with_defaults(body: Object, namespace: str) -> Object:
    """The completed service; completing it again changes nothing, or every write would be a new generation."""
    body = copy.deepcopy({name: body[name] for name in ("apiVersion", "kind", "metadata", "spec")})
    body["metadata"]["namespace"] = namespace
    template = body["spec"]["template"]
    template["spec"].setdefault("containerConcurrency", 0)
    template["spec"].setdefault("timeoutSeconds", DEFAULT_TIMEOUT_SECONDS)
    template["spec"]["containers"][0].setdefault("name", "user-container")
    if not body["spec"].get("traffic"):
        body["spec"]["traffic"] = [{"latestRevision": True, "percent": 100}]
    return body


def _template_problems(body: Object, namespace: str, find_revision: Callable[[Key], Object | None]) -> list[str]:
    service, template = body["metadata"]["name"], body["spec"]["template"]
    problems = _container_problems(template["spec"]["containers"][0])
    metadata = template.get("metadata") or {}
    progress = (metadata.get("annotations") or {}).get(PROGRESS_DEADLINE, "60s")
    if not parse_duration(progress):
        problems.append(f"annotation {PROGRESS_DEADLINE}: expected a duration such as 90s, received {progress!r}")
    timeout = template["spec"]["timeoutSeconds"]
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 1 <= timeout <= 3600:
        problems.append(f"timeoutSeconds: expected 1 to 3600, received {timeout!r}")
    concurrency = template["spec"]["containerConcurrency"]
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 0 <= concurrency <= 1000:
        problems.append(f"containerConcurrency: expected 0 (no limit) to 1000, received {concurrency!r}")
    name = metadata.get("name")
    if name is None:
        return problems
    if not _is_name(name) or not name.startswith(f"{service}-"):
        return [*problems, f"revision name: expected {service}-… ({_NAME_RULE}), received {name!r}"]
    known = find_revision(Key(namespace, name))
    if known and known["metadata"]["annotations"][TEMPLATE_ANNOTATION] != template_digest(template):
        problems.append(
            f"revision {name} exists with another template, and a revision never changes: give the new one another name"
        )
    return problems


def _container_problems(container: Object) -> list[str]:
    problems = []
    image = container.get("image")
    try:
        ImageRef.parse(image if isinstance(image, str) else "")
    except InvalidInput as error:
        problems.append(f"image: {error}")
    for field in ("command", "args"):
        words = container.get(field) or []
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            problems.append(f"{field}: expected a list of strings")
    env = container.get("env") or []
    if not isinstance(env, list):
        return [*problems, "env: expected a list of {name, value}"]
    for item in env:
        if not isinstance(item, dict) or not _ENV_NAME.fullmatch(str(item.get("name", ""))):
            problems.append(f"env: expected {{name, value}}, received {item!r}")
        elif "valueFrom" in item or not isinstance(item.get("value", ""), str):
            problems.append(f"env {item['name']}: the local target takes a value that is a string, and no valueFrom")
        elif item["name"] in _RESERVED_ENV:
            problems.append(f"env {item['name']}: it is set by the platform")
    for probe in ("readinessProbe", "startupProbe"):
        path = _at(container, probe, "httpGet", "path")
        if path is not None and not (isinstance(path, str) and path.startswith("/") and path.isprintable()):
            problems.append(f"{probe}.httpGet.path: expected a path that begins with /, received {path!r}")
    return problems


def _traffic_problems(body: Object, find_revision: Callable[[Key], Object | None]) -> list[str]:
    problems: list[str] = []
    tags: list[str] = []
    total = 0
    for number, line in enumerate(body["spec"]["traffic"]):
        if not isinstance(line, dict):
            return [f"traffic[{number}]: expected an object"]
        percent = line.get("percent") or 0
        if not isinstance(percent, int) or isinstance(percent, bool) or not 0 <= percent <= 100:
            problems.append(f"traffic[{number}].percent: expected a whole number from 0 to 100, received {percent!r}")
            return problems
        total += percent
        if tag := line.get("tag"):
            if not _is_name(tag):
                problems.append(f"traffic[{number}].tag: expected {_NAME_RULE}, received {tag!r}")
            elif tag in tags:
                problems.append(f"traffic[{number}].tag: {tag} is on another line too")
            tags.append(tag)
        problems += _revision_problems(body, number, find_revision)
    if total != 100:
        problems.append(f"traffic: expected percents that sum to 100, received {total}")
    return problems


def _revision_problems(body: Object, number: int, find_revision: Callable[[Key], Object | None]) -> list[str]:
    """What is wrong with the revision that a line of traffic names."""
    line, metadata = body["spec"]["traffic"][number], body["metadata"]
    name = line.get("revisionName")
    if not name:
        return [] if line.get("latestRevision", True) else [f"traffic[{number}]: expected a revisionName"]
    if line.get("latestRevision"):
        return [f"traffic[{number}]: expected a revisionName or latestRevision, received both"]
    if name == _at(body, "spec", "template", "metadata", "name"):
        return []
    known = find_revision(Key(metadata["namespace"], name)) if isinstance(name, str) else None
    if known is None or known["metadata"]["labels"]["serving.knative.dev/service"] != metadata["name"]:
        return [f"traffic[{number}]: service {metadata['name']} has no revision {name!r}"]
    return []


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _at(body: Any, *path: str) -> Any:
    """The value at a path of objects, or None."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body
