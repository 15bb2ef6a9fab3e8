"""Writes for each component what someone elsewhere needs to use it: a page, and the metadata of the Kubeflow catalogue.

The page comes from the component's docstring and its compiled YAML; the rest is in ``ENTRIES``. The form of
``metadata.yaml`` is that of kubeflow/pipelines-components, ``docs/CONTRIBUTING.md`` and
``scripts/validate_metadata/validate_metadata.py``.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docstring_parser
import yaml
from docstring_parser.common import Docstring

from components.images import STEPS
from pipelines.catalog_example import Port, Step, write_example

LAST_VERIFIED = "2026-11-21T00:00:00Z"
"""When a person last saw all of them work. The Kubeflow catalogue drops what is older than a year: bump it by hand."""

KFP_VERSION = "2.17.0"
"""The oldest that lading is tested with."""

REPOSITORY = "https://github.com/lading-dev/lading"
VERSION = STEPS.partition(":")[2].partition("-")[0]
COMPILED_URL = f"https://raw.githubusercontent.com/lading-dev/lading/v{VERSION}/components/compiled"

_CACHED = "The same inputs give the same outputs, so KFP may take them from its cache."
_UNCACHED = "It looks at, or changes, more than its inputs: switch KFP's cache off, as the example does."

_TYPES = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What neither docstring nor signature says of a component."""

    tags: tuple[str, ...]
    services: dict[str, str] = field(default_factory=dict)
    """What it needs besides Kubeflow, with the oldest version."""
    after: tuple[str, ...] = ()
    """Components that stand before it in the example and feed it."""
    when: str = ""
    """The condition under which the example runs it."""
    given: dict[str, str] = field(default_factory=dict)
    """Inputs that the example gives as an expression, rather than as a parameter of the pipeline."""
    cached: bool = False
    """Whether the same inputs make the same outputs, and nothing else happens."""


_TENSORFLOW = {"TensorFlow": ">=2.18.0"}
_KNATIVE = {"Knative Serving": ">=1.0.0"}

ENTRIES = {
    "train": Entry(tags=("training", "tensorflow", "keras", "savedmodel"), services=_TENSORFLOW, cached=True),
    "evaluate": Entry(
        tags=("evaluation", "tensorflow", "champion_challenger"), services=_TENSORFLOW | _KNATIVE, after=("train",)
    ),
    "scan": Entry(tags=("security", "tensorflow", "savedmodel"), after=("train",)),
    "convert": Entry(
        tags=("conversion", "tensorflow", "litert", "savedmodel"), services=_TENSORFLOW, after=("train",), cached=True
    ),
    "package": Entry(tags=("deployment", "container_image", "oci", "savedmodel")),
    "package_with_cloud_build": Entry(
        tags=("deployment", "container_image", "cloud_build", "savedmodel"),
        services={"Google Cloud Build": ">=1.0.0"},
        after=("train",),
    ),
    "deploy": Entry(
        tags=("deployment", "serving", "knative"),
        services=_KNATIVE,
        after=("package",),
        given={"release_id": "dsl.PIPELINE_JOB_ID_PLACEHOLDER"},
    ),
    "smoke": Entry(
        tags=("evaluation", "serving", "smoke_test"),
        after=("deploy",),
    ),
    "promote": Entry(
        tags=("deployment", "serving", "traffic", "knative"),
        services=_KNATIVE,
        after=("deploy", "smoke"),
        when='smoke_task.outputs["passed"] == True',
    ),
    "vertex_resources": Entry(tags=("deployment", "vertex_ai", "artifacts"), after=("deploy",)),
    "settle": Entry(tags=("deployment", "serving", "traffic", "knative"), services=_KNATIVE),
    "rollback": Entry(tags=("deployment", "serving", "traffic", "knative"), services=_KNATIVE),
    "vertex_batch_predict": Entry(
        tags=("batch_prediction", "vertex_ai"),
        after=("package",),
        given={"run_id": "dsl.PIPELINE_JOB_ID_PLACEHOLDER"},
    ),
    "batch_predict": Entry(
        tags=("batch_prediction", "tensorflow", "savedmodel"), services=_TENSORFLOW, after=("train",)
    ),
    "reject": Entry(
        tags=("evaluation", "report"), after=("evaluate",), when='evaluate_task.outputs["passed"] == False'
    ),
}


@dataclass(frozen=True)
class Component:
    """A component as it was compiled, and as its docstring explains it."""

    name: str
    doc: Docstring
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    image: str

    @classmethod
    def read(cls, name: str, compiled: Path) -> "Component":
        """Put together the compiled YAML and the docstring of ``components/NAME.py``."""
        function = getattr(importlib.import_module(f"components.{name}"), name)
        doc = docstring_parser.parse(function.python_func.__doc__)
        spec = yaml.safe_load(compiled.read_text())
        order = [*(parameter.arg_name for parameter in doc.params), *(function.component_spec.outputs or {})]
        (executor,) = spec["deploymentSpec"]["executors"].values()
        return cls(
            name=name,
            doc=doc,
            inputs=_ports(spec["root"].get("inputDefinitions", {}), doc, order),
            outputs=_ports(spec["root"].get("outputDefinitions", {}), doc, order),
            image=executor["container"]["image"],
        )

    @property
    def summary(self) -> str:
        """The first lines of the docstring, in one."""
        return _line(self.doc.short_description or "")


def write_catalog(root: Path, names: Sequence[str]) -> list[Path]:
    """Write page and metadata of every component, from the YAML below ``root``; the same sources give the same bytes.

    Returns:
        The files written.
    """
    found = {name: Component.read(name, root / "components" / "compiled" / f"{name}.yaml") for name in names}
    written = []
    for name, component in found.items():
        folder = root / "components" / "catalog" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in (("README.md", _page(component, found)), ("metadata.yaml", _metadata(name))):
            (folder / file).write_text(text)
            written.append(folder / file)
    return written


def _page(component: Component, known: dict[str, Component]) -> str:
    name = component.name
    return f"""<!-- Written by `make compile` from components/{name}.py. DO NOT EDIT. -->

# {name}

{component.summary}

{_CACHED if ENTRIES[name].cached else _UNCACHED} Compiled: [{name}.yaml](../../compiled/{name}.yaml); source:
[{name}.py](../../{name}.py); all of them: [components](../../../docs/components.md).

## Inputs

{_table(("name", "type", "default", "what it is"), [_input(port) for port in component.inputs])}

## Outputs

{_table(("name", "type", "what it is"), [(f"`{p.name}`", p.type, p.description) for p in component.outputs])}

## Errors

The step ends red; the last line of its log is the error with what was expected, what came, and what to do.

{_table(("error", "when, and what to do"), [(f"`{e.type_name}`", _line(e.description)) for e in component.doc.raises])}

## Image

`{component.image}`, which names no registry: `lading images push --to PREFIX` publishes it, and
`lading compile {name} --images PREFIX` writes the component with the digest that your registry has.

{_example(component, known)}"""


def _example(component: Component, known: dict[str, Component]) -> str:
    name, entry = component.name, ENTRIES[component.name]
    return f"""## Example

```python
{write_example([_step(known[one]) for one in (*entry.after, name)], when=entry.when)}```

Without a checkout, by URL:

```python
{name} = components.load_component_from_url(
    "{COMPILED_URL}/{name}.yaml"
)
```
"""


def _metadata(name: str) -> str:
    entry = ENTRIES[name]
    services = "".join(
        f'    - name: {service}\n      version: "{version}"\n' for service, version in entry.services.items()
    )
    external = f"  external_services:\n{services}" if services else ""
    tags = "".join(f"  - {tag}\n" for tag in entry.tags)
    return f"""# Written by `make compile` from pipelines/catalog.py; lastVerified is set there. DO NOT EDIT.
---
name: {name}
stability: alpha
dependencies:
  kubeflow:
    - name: Pipelines
      version: ">={KFP_VERSION}"
{external}tags:
{tags}lastVerified: {LAST_VERIFIED}
ci:
  skip_dependency_probe: false
links:
  documentation: {REPOSITORY}/blob/main/components/catalog/{name}/README.md
  issue_tracker: {REPOSITORY}/issues
"""


def _step(component: Component) -> Step:
    entry = ENTRIES[component.name]
    return Step(component.name, component.inputs, component.outputs, given=entry.given, cached=entry.cached)


def _ports(definitions: dict[str, Any], doc: Docstring, order: list[str]) -> tuple[Port, ...]:
    described = {parameter.arg_name: _line(parameter.description) for parameter in doc.params}
    returned = doc.returns.description if doc.returns else ""
    found = []
    for name, spec in definitions.get("artifacts", {}).items():
        kind = spec["artifactType"]["schemaTitle"]
        found.append(Port(name, kind, described[name], optional=spec.get("isOptional", False), artifact=True))
    for name, spec in definitions.get("parameters", {}).items():
        words = spec.get("description") or described.get(name) or returned
        kind, default = _TYPES[spec["parameterType"]], spec.get("defaultValue")
        default = int(default) if kind == "int" and default is not None else default
        found.append(Port(name, kind, _line(words), default=default, optional=spec.get("isOptional", False)))
    return tuple(sorted(found, key=lambda port: order.index(port.name)))


def _input(port: Port) -> tuple[str, ...]:
    default = f"`{port.default!r}`" if port.default is not None else "" if port.optional else "required"
    return f"`{port.name}`", port.type, default, port.description


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
