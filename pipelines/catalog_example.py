"""Writes a small pipeline, as Python source, that loads components from their YAML and wires them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_WIDTH = 100


@dataclass(frozen=True)
class Port:
    """An input or output of a component."""

    name: str
    type: str
    """Of an artifact its schema (``system.Model``), of a parameter its Python type."""
    description: str
    default: Any = None
    optional: bool = False
    artifact: bool = False


@dataclass(frozen=True)
class Step:
    """A component in the example."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    """Inputs that are given as an expression."""
    cached: bool = False


def write_example(steps: Sequence[Step], *, when: str = "") -> str:
    """Source of a pipeline in which each step takes what the earlier ones give it.

    An artifact that none of them makes is imported by its URI; a parameter that none of them gives, and that has no
    default, is one of the pipeline.

    Args:
        steps: In their order; the last is what the example is about.
        when: A condition for the last one.
    """
    wiring = _Wiring({name: words for step in steps for name, words in step.given.items()})
    name, body = steps[-1].name, []
    for step in steps[:-1]:
        body += _call(step, wiring.connect(step), start=f"{step.name}_task = ")
    last = wiring.connect(steps[-1])
    body += [f"with dsl.If({when}):", *_call(steps[-1], last, start="    ")] if when else _call(steps[-1], last)
    loads = (
        f'{one} = components.load_component_from_file("components/compiled/{one}.yaml")'
        for one in [step.name for step in steps]
    )
    arguments = ", ".join(f"{parameter}: {kind}" for parameter, kind in wiring.parameters.items())
    return "\n".join(
        [
            "from kfp import compiler, components, dsl",
            "",
            *loads,
            *("", "", f'@dsl.pipeline(name="{name}-example")', f"def example({arguments}):"),
            *(f"    {line}" for line in (*wiring.imports, *body)),
            *("", "", f'compiler.Compiler().compile(example, "{name}_example.yaml")', ""),
        ]
    )


class _Wiring:
    """What each input of a step gets, and what the pipeline must have for that."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._known = dict(given)
        self.parameters: dict[str, str] = {}
        self.imports: list[str] = []

    def connect(self, step: Step) -> dict[str, str]:
        """The arguments of a step by name; its own outputs are known afterwards."""
        arguments = {}
        for port in step.inputs:
            if port.name not in self._known and not port.optional:
                self._known[port.name] = self._imported(port) if port.artifact else self._asked(port)
            if port.name in self._known:
                arguments[port.name] = self._known[port.name]
        self._known |= {port.name: f'{step.name}_task.outputs["{port.name}"]' for port in step.outputs}
        return arguments

    def _imported(self, port: Port) -> str:
        kind = port.type.replace("system.", "dsl.")
        self.parameters[f"{port.name}_uri"] = "str"
        self.imports.append(f"{port.name} = dsl.importer(artifact_uri={port.name}_uri, artifact_class={kind})")
        return f"{port.name}.output"

    def _asked(self, port: Port) -> str:
        self.parameters[port.name] = port.type
        return port.name


def _call(step: Step, arguments: Mapping[str, str], *, start: str = "") -> list[str]:
    end = ")" if step.cached else ").set_caching_options(False)"
    words = [f"{name}={value}" for name, value in arguments.items()]
    line = f"{start}{step.name}({', '.join(words)}{end}"
    if len(line) <= _WIDTH:
        return [line]
    indent = " " * (len(start) - len(start.lstrip()))
    return [f"{start}{step.name}(", *(f"{indent}    {word}," for word in words), f"{indent}{end}"]
