"""Reads a compiled KFP v2 pipeline or component.

The intermediate representation (IR) is the JSON form of ``ml_pipelines.PipelineSpec``, written as YAML; a second YAML
document, where there is one, is its ``PlatformSpec``. Source: kubeflow/pipelines,
``api/v2alpha1/pipeline_spec.proto``.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput, LadingError
from lading.storage import read_bytes

SCHEMA_MAJOR = "2"


@dataclass(frozen=True)
class Task:
    """A task somewhere in the pipeline, inside however many groups."""

    name: str
    group: str
    """The component whose DAG holds it; ``root`` at the top."""
    spec: dict[str, Any]
    """Its ``PipelineTaskSpec``."""
    component: dict[str, Any]
    """The ``ComponentSpec`` that it runs."""
    executor: dict[str, Any]
    """What runs: ``{"container": …}`` or ``{"importer": …}``; empty for a group of tasks."""

    @property
    def is_group(self) -> bool:
        """Whether it is a condition, a loop, an exit handler or a nested pipeline."""
        return "dag" in self.component

    @property
    def container(self) -> dict[str, Any]:
        """Its container, or an empty mapping."""
        found: dict[str, Any] = self.executor.get("container", {})
        return found


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline (or a component: KFP compiles both to the same form)."""

    spec: dict[str, Any]
    """The ``PipelineSpec``."""
    platform: dict[str, Any]
    """The ``PlatformSpec`` of a second document; empty when there is none."""
    source: str
    """Where it was read from, for messages."""

    @classmethod
    def load(cls, uri: str | Path) -> "Pipeline":
        """Read a file by path, ``file://`` or ``gs://``.

        Raises:
            NotFound: there is no such file.
            InvalidInput: it is not a compiled KFP v2 pipeline.
        """
        return cls.parse(read_bytes(str(uri)).decode("utf-8", "replace"), source=str(uri))

    @classmethod
    def parse(cls, text: str, *, source: str) -> "Pipeline":
        """Read YAML or JSON text.

        Raises:
            InvalidInput: it is not a compiled KFP v2 pipeline.
            LadingError: PyYAML is not installed.
        """
        try:
            import yaml
        except ImportError as error:
            raise LadingError("reading a pipeline needs PyYAML: pip install 'lading[pipelines]'") from error

        try:
            documents = list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.YAMLError as error:
            raise InvalidInput(f"{source} is not a compiled KFP v2 pipeline: {error}") from error
        spec: Any = documents[0] if documents else None
        # The backend also accepts both in one document: {"pipeline_spec": …, "platform_spec": …}.
        wrapped = isinstance(spec, dict) and isinstance(spec.get("pipeline_spec"), dict)
        if wrapped:
            documents = [spec["pipeline_spec"], *([spec["platform_spec"]] if spec.get("platform_spec") else [])]
            spec = documents[0]
        cls._check(spec, source)
        platform = documents[1] if len(documents) > 1 else {}
        if len(documents) > 2 or not isinstance(platform, dict) or (platform and "platforms" not in platform):
            raise InvalidInput(
                f"{source}: after the pipeline at most one document may follow, with the key `platforms`; "
                f"there are {len(documents)} documents"
            )
        return cls(spec, platform, source)

    @staticmethod
    def _check(spec: Any, source: str) -> None:
        if not isinstance(spec, dict):
            raise InvalidInput(f"{source} is not a compiled KFP v2 pipeline: expected a mapping with `pipelineInfo`")
        if spec.get("apiVersion", "").startswith("argoproj.io") or "implementation" in spec:
            raise InvalidInput(f"{source} is from KFP v1 (an Argo workflow or a v1 component): compile it with kfp 2")
        missing = [key for key in ("pipelineInfo", "root", "schemaVersion") if key not in spec]
        if missing or not isinstance(spec["root"], dict):
            raise InvalidInput(f"{source} is not a compiled KFP v2 pipeline: it has no {', '.join(missing) or 'root'}")
        if str(spec["schemaVersion"]).partition(".")[0] != SCHEMA_MAJOR:
            raise InvalidInput(f"{source} has schemaVersion {spec['schemaVersion']}; lading reads {SCHEMA_MAJOR}.x")

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.spec["pipelineInfo"].get("name", ""))

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The inputs by name: for each its ``parameterType``, ``defaultValue``, ``isOptional`` and ``description``."""
        return dict(self.spec["root"].get("inputDefinitions", {}).get("parameters", {}))

    @property
    def defaults(self) -> dict[str, Any]:
        """The value of each parameter that has a default. (The compiler writes whole numbers as ``3.0``.)"""
        return {
            name: int(declared["defaultValue"])
            if declared.get("parameterType") == "NUMBER_INTEGER"
            else declared["defaultValue"]
            for name, declared in self.parameters.items()
            if "defaultValue" in declared
        }

    def tasks(self) -> Iterator[Task]:
        """Every task, groups included: a group stands before what it holds."""
        yield from self._tasks("root", self.spec["root"])

    def steps(self) -> list[Task]:
        """The tasks that run something, in an order in which they may run."""
        return [task for task in self.tasks() if not task.is_group]

    def images(self) -> list[str]:
        """The images that containers run, each once."""
        return list(dict.fromkeys(step.container["image"] for step in self.steps() if "image" in step.container))

    def without_caching(self) -> "Pipeline":
        """The pipeline with caching off for every task. (On for every task would skip deployments.)"""
        spec = copy.deepcopy(self.spec)
        for group in (spec["root"], *spec.get("components", {}).values()):
            for task in group.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {}
        return replace(self, spec=spec)

    def _tasks(self, group: str, component: dict[str, Any]) -> Iterator[Task]:
        tasks: dict[str, Any] = component.get("dag", {}).get("tasks", {})
        for name in _in_order(tasks):
            reference = tasks[name].get("componentRef", {}).get("name", "")
            inner = self.spec.get("components", {}).get(reference, {})
            executor = self._executor(inner)
            yield Task(name, group, tasks[name], inner, executor)
            if "dag" in inner:
                yield from self._tasks(reference, inner)

    def _executor(self, component: dict[str, Any]) -> dict[str, Any]:
        executors = self.spec.get("deploymentSpec", {}).get("executors", {})
        found: dict[str, Any] = executors.get(component.get("executorLabel", ""), {})
        return found


def _in_order(tasks: dict[str, Any]) -> list[str]:
    """Names of tasks so that each stands after those it depends on; otherwise as they are written."""
    ordered: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in ordered or name in above or name not in tasks:
            return
        for dependency in tasks[name].get("dependentTasks", ()):
            visit(dependency, (*above, name))
        ordered.append(name)

    for name in tasks:
        visit(name, ())
    return ordered
