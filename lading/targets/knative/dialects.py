"""How each platform that speaks the Knative Serving API wants ``Settings`` written.

They share one object and not one dialect: Cloud Run refuses annotations that it does not know, and Knative overlooks
them. Sources: Knative Serving API specification v1; Cloud Run Admin API v1, ``ObjectMeta`` and ``RevisionSpec``.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lading.errors import InvalidInput, LadingError
from lading.targets.base import Capabilities, Phase, Rollout
from lading.targets.door import READY_PATH
from lading.targets.knative.advice import ingress_advice
from lading.targets.settings import Settings

PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
MIN_SCALE, MAX_SCALE = "autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/max-scale"
VISIBILITY = "networking.knative.dev/visibility"

# Cloud Run spells these two in its own way.
CLOUD_RUN_MAX_SCALE = "autoscaling.knative.dev/maxScale"
CLOUD_RUN_MIN_SCALE = "run.googleapis.com/minScale"
CLOUD_RUN_INGRESS = "run.googleapis.com/ingress"
CPU_BOOST = "run.googleapis.com/startup-cpu-boost"
EXECUTION_ENVIRONMENT = "run.googleapis.com/execution-environment"

MARKS_ANNOTATION = "lading.dev/settings"
"""On a service: what its settings have put on it, and what they will once the open release is promoted."""


@dataclass(frozen=True)
class Marks:
    """Settings of the service itself, which make no other revision."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Dialect(ABC):
    """One platform's way to write settings."""

    capabilities: Capabilities
    annotations: frozenset[str] = frozenset()
    """Annotations of templates that ``template`` may write."""
    rebuilds = True
    """Whether a template can be made again of the revision that it led to."""

    @abstractmethod
    def template(self, image: str, settings: Settings) -> dict[str, Any]:
        """The revision template of an image and its settings, without a name.

        Raises:
            InvalidInput: the platform has the setting, and not this value of it.
        """

    def marks(self, settings: Settings) -> Marks:
        """What settings put on the service itself."""
        return Marks(labels=settings.labels)

    def door_advice(self, method: str, error: LadingError) -> str:
        """What to do about an error of a service that was asked."""
        return ""


class Local(Dialect):
    """The embedded target."""

    capabilities = Capabilities(
        settings=frozenset({"env", "concurrency", "timeout_seconds", "startup_seconds"}),
        candidate="by the URL of its tag",
        public=False,
        private=False,
        sees_traffic=True,
    )
    annotations = frozenset({PROGRESS_DEADLINE})

    def template(self, image: str, settings: Settings) -> dict[str, Any]:
        """See ``Dialect.template``."""
        return {
            "metadata": {"annotations": {PROGRESS_DEADLINE: f"{settings.startup_seconds}s"}},
            "spec": _spec({**_container(image, settings), "readinessProbe": _asks_readiness()}, settings),
        }


class Knative(Dialect):
    """A cluster with Knative Serving."""

    capabilities = Capabilities(
        settings=frozenset(
            {"env", "secrets", "cpu", "memory", "concurrency", "min_instances", "max_instances", "timeout_seconds"}
            | {"service_account", "ingress", "labels", "startup_seconds"}
        ),
        candidate="by the URL of its tag",
        public=False,
        private=False,
    )
    annotations = frozenset({PROGRESS_DEADLINE, MIN_SCALE, MAX_SCALE})

    def template(self, image: str, settings: Settings) -> dict[str, Any]:
        """See ``Dialect.template``. The minimum of instances is one of revisions here."""
        container = {**_container(image, settings), "readinessProbe": _asks_readiness()}
        if size := _size(settings):
            container["resources"] = {"requests": size, "limits": size}
        annotations = {
            PROGRESS_DEADLINE: f"{settings.startup_seconds}s",
            MIN_SCALE: str(settings.min_instances or ""),
            MAX_SCALE: str(settings.max_instances or ""),
        }
        return {"metadata": {"annotations": _given(annotations)}, "spec": _spec(container, settings)}

    def marks(self, settings: Settings) -> Marks:
        """See ``Dialect.marks``."""
        if settings.ingress not in ("", "all", "internal"):
            raise InvalidInput(f"settings: ingress: Knative has all and internal, received {settings.ingress}")
        visibility = {VISIBILITY: "cluster-local"} if settings.ingress == "internal" else {}
        return Marks(labels={**settings.labels, **visibility})

    def door_advice(self, method: str, error: LadingError) -> str:
        """See ``Dialect.door_advice``."""
        return ingress_advice(method, error)


class CloudRun(Dialect):
    """Cloud Run."""

    capabilities = Capabilities(
        settings=Knative.capabilities.settings | {"cpu_boost", "execution_environment"},
        candidate="by the URL of its tag, with an ID token for the URL of the service",
        public=True,
        private=True,
    )
    annotations = frozenset({CLOUD_RUN_MAX_SCALE, CPU_BOOST, EXECUTION_ENVIRONMENT})
    # A revision comes back with what Cloud Run added; sent again under its name, that is "different configuration".
    rebuilds = False

    def template(self, image: str, settings: Settings) -> dict[str, Any]:
        """See ``Dialect.template``."""
        container = _container(image, settings)
        # Readiness probes are not supported; how long a revision may take is what its startup probe allows.
        tries = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": settings.startup_seconds}
        container["startupProbe"] = {**_asks_readiness(), **tries}
        if size := _size(settings):
            container["resources"] = {"limits": size}
        annotations = {
            CLOUD_RUN_MAX_SCALE: str(settings.max_instances or ""),
            CPU_BOOST: "true" if settings.cpu_boost else "",
            EXECUTION_ENVIRONMENT: settings.execution_environment,
        }
        return {"metadata": {"annotations": _given(annotations)}, "spec": _spec(container, settings)}

    def marks(self, settings: Settings) -> Marks:
        """See ``Dialect.marks``."""
        annotations = {CLOUD_RUN_MIN_SCALE: str(settings.min_instances or ""), CLOUD_RUN_INGRESS: settings.ingress}
        return Marks(_given(annotations), settings.labels)


def _asks_readiness() -> dict[str, Any]:
    """A probe of its own for each template: who gets a template may change it."""
    return {"httpGet": {"path": READY_PATH}}


def _container(image: str, settings: Settings) -> dict[str, Any]:
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in sorted(settings.env.items())]
    for name, source in sorted(settings.secrets.items()):
        secret, _, key = source.partition(":")
        env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return {"image": image, "env": env}


def _size(settings: Settings) -> dict[str, str]:
    return _given({"cpu": settings.cpu, "memory": settings.memory})


def _spec(container: dict[str, Any], settings: Settings) -> dict[str, Any]:
    of_revision = {
        "containerConcurrency": settings.concurrency,
        "timeoutSeconds": settings.timeout_seconds,
        "serviceAccountName": settings.service_account,
    }
    return {**{name: value for name, value in of_revision.items() if value}, "containers": [container]}


def _given(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}


def propose_marks(body: dict[str, Any], marks: Marks, rollout: Rollout) -> None:
    """Note what a release will put on a service; on one that the release creates, put it there.

    Until the release is promoted, the service stays as it is: ingress, for instance, is for those who ask it now.
    """
    noted = _noted(body)
    if rollout.before:
        _note(body, {**noted, "next": asdict(marks)})
    else:
        _put(body, marks, noted)


def settle_marks(body: dict[str, Any], rollout: Rollout | None) -> None:
    """Put on a service what a release that is promoted brings; forget it when the release is undone."""
    noted = _noted(body)
    if rollout is None or "next" not in noted or rollout.phase not in (Phase.PROMOTED, Phase.UNDONE):
        return
    following = noted.pop("next")
    if rollout.phase is Phase.PROMOTED:
        _put(body, Marks(**following), noted)
    else:
        _note(body, noted)


def _noted(body: dict[str, Any]) -> dict[str, Any]:
    noted: dict[str, Any] = json.loads(body["metadata"].get("annotations", {}).get(MARKS_ANNOTATION, "{}"))
    return noted


def _note(body: dict[str, Any], noted: dict[str, Any]) -> None:
    body["metadata"].setdefault("annotations", {})[MARKS_ANNOTATION] = json.dumps(noted, separators=(",", ":"))


def _put(body: dict[str, Any], marks: Marks, noted: dict[str, Any]) -> None:
    """What an earlier release put there and this one does not is taken away; what others put there stays."""
    old = Marks(**noted.get("now", {}))
    for kind, before, after in (
        ("annotations", old.annotations, marks.annotations),
        ("labels", old.labels, marks.labels),
    ):
        kept = {n: v for n, v in (body["metadata"].get(kind) or {}).items() if n not in before}
        body["metadata"][kind] = {**kept, **after}
    _note(body, {"now": asdict(marks)})
