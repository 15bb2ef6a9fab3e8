"""The compiled pipelines that come with lading, and the parameters that a compiled pipeline takes."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput

_PARSERS = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}


def find_pipeline(name: str) -> Path:
    """The compiled YAML of a pipeline by name, or the path itself if it is one.

    Raises:
        InvalidInput: there is no such pipeline.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidInput(f"no compiled pipeline at {name}")
        return Path(name).resolve()
    package = Path(str(resources.files("lading")))
    # In the wheel they are package data; in a checkout they stand beside the package.
    for place in (package / "compiled" / "pipelines", package.parent / "pipelines" / "compiled"):
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    raise InvalidInput(
        f"unknown pipeline {name!r} (known: release); or give the path of a compiled one, ending in .yaml"
    )


def parse_parameters(pipeline: Path, assignments: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` words as the parameters of a compiled pipeline, by their declared types.

    Raises:
        InvalidInput: names every word that is not ``KEY=VALUE``, every unknown key, and every value of the wrong type.
    """
    declared = declared_parameters(pipeline)
    found: dict[str, Any] = {}
    problems = []
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or key not in declared:
            problems.append(f"{word!r}: expected KEY=VALUE with one of {', '.join(declared)}")
            continue
        try:
            found[key] = _parse(declared[key].get("parameterType", "STRING"), value)
        except ValueError as error:
            problems.append(f"{key}: {error}")
    missing = [k for k, v in declared.items() if k not in found and "defaultValue" not in v and not v.get("isOptional")]
    problems += [f"{key}: missing" for key in missing]
    if problems:
        raise InvalidInput("parameters: " + "; ".join(problems))
    return found


def declared_parameters(pipeline: Path) -> dict[str, dict[str, Any]]:
    """The inputs of a compiled pipeline: for each its ``parameterType`` and ``defaultValue``."""
    import yaml

    try:
        body = next(yaml.load_all(pipeline.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        return dict(body["root"].get("inputDefinitions", {}).get("parameters", {}))
    except (yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise InvalidInput(f"{pipeline} is not a compiled KFP v2 pipeline: {error!r}") from error


def _parse(kind: str, text: str) -> Any:
    if kind == "BOOLEAN":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, received {text!r}")
        return text.lower() == "true"
    if kind in ("LIST", "STRUCT"):
        return json.loads(text)
    return _PARSERS[kind](text)
