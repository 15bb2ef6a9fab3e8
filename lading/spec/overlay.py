"""Kubernetes settings of steps, kept beside a pipeline so that the pipeline itself stays one document.

An overlay file maps the name of a step, or ``*`` for all of them, to what KFP calls ``KubernetesExecutorConfig``, in
its JSON form. Source: kubeflow/pipelines, ``kubernetes_platform/proto/kubernetes_executor_config.proto`` (2.17).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lading.errors import InvalidInput, NotFound
from lading.spec.ir import Pipeline, Task
from lading.spec.kubernetes import check_settings, merge_settings, with_parameters
from lading.storage import read_bytes

EVERY_STEP = "*"


@dataclass(frozen=True)
class Overlay:
    """Settings by step."""

    settings: Mapping[str, dict[str, Any]]
    """Name of a step, or ``*``, to its ``KubernetesExecutorConfig``."""
    source: str
    """Where it was read from, for messages."""

    @classmethod
    def load(cls, uri: str) -> "Overlay":
        """Read an overlay file by path, ``file://`` or ``gs://``.

        Raises:
            NotFound: there is no such file.
            InvalidInput: it is not YAML, or has an unknown or malformed setting; says which there are.
        """
        try:
            text = read_bytes(uri).decode("utf-8", "replace")
        except NotFound as error:
            raise NotFound(f"no overlay at {uri}: docs/compile.md shows one") from error
        return cls.parse(text, source=uri)

    @classmethod
    def parse(cls, text: str, *, source: str) -> "Overlay":
        """Read the text of an overlay file.

        Raises:
            InvalidInput: it is not YAML, or has an unknown or malformed setting; says which there are.
        """
        import yaml

        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidInput(f"{source} is not an overlay: {error}") from error
        if not isinstance(found, dict) or not found:
            raise InvalidInput(f"{source}: expected a mapping from steps (or '*') to their settings")
        for step, settings in found.items():
            check_settings(settings, f"{source}: {step}")
        return cls({str(step): settings for step, settings in found.items()}, source)

    def apply(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline with these settings in its platform document, over those that it may have.

        Raises:
            InvalidInput: a step that is named is not there, or two steps that KFP compiled to one executor are given
                different settings.
        """
        return self.apply_all([pipeline])[0]

    def apply_all(self, pipelines: Iterable[Pipeline]) -> list[Pipeline]:
        """Several pipelines with these settings; a step that is named must be in one of them.

        Raises:
            InvalidInput: as for ``apply``.
        """
        found = list(pipelines)
        self._check_steps(found)
        return [self._applied(pipeline) for pipeline in found]

    def _check_steps(self, pipelines: Iterable[Pipeline]) -> None:
        known = dict.fromkeys(step.name for pipeline in pipelines for step in _containers(pipeline))
        if unknown := [step for step in self.settings if step != EVERY_STEP and step not in known]:
            raise InvalidInput(f"{self.source}: no step {', '.join(unknown)} (there are: {', '.join(known)}; '*': all)")

    def _applied(self, pipeline: Pipeline) -> Pipeline:
        executors: dict[str, dict[str, Any]] = {}
        first: dict[str, str] = {}
        for step in _containers(pipeline):
            label = step.component["executorLabel"]
            settings = self._of(step.name)
            if label in executors and executors[label] != settings:
                raise InvalidInput(
                    f"{self.source}: the steps {first[label]} and {step.name} are one to KFP ({label}), "
                    "so they need the same settings: give them to both"
                )
            executors[label] = settings
            first.setdefault(label, step.name)
        return replace(pipeline, platform=_with_executors(pipeline.platform, executors))

    def _of(self, step: str) -> dict[str, Any]:
        return merge_settings(self.settings.get(EVERY_STEP, {}), self.settings.get(step, {}))


def _containers(pipeline: Pipeline) -> list[Task]:
    return [step for step in pipeline.steps() if step.container]


def _with_executors(platform: dict[str, Any], executors: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A ``PlatformSpec`` with settings added to those of its executors; what it is given stays as it was."""
    platforms = platform.get("platforms", {})
    kubernetes = platforms.get("kubernetes", {})
    deployment = kubernetes.get("deploymentSpec", {})
    known = deployment.get("executors", {})
    merged = known | {
        label: merge_settings(known.get(label, {}), with_parameters(settings))
        for label, settings in executors.items()
        if settings
    }
    if not merged:
        return platform
    deployment = {**deployment, "executors": merged}
    return {**platform, "platforms": {**platforms, "kubernetes": {**kubernetes, "deploymentSpec": deployment}}}
