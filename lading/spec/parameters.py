"""The parameters of a run: gathered from words, a file and the environment, each of the type that is declared."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput
from lading.spec.ir import Pipeline
from lading.storage import read_bytes

ENVIRONMENT_PREFIX = "LADING_PARAM_"
"""``LADING_PARAM_SERVICE=taxi`` is the parameter ``service``."""


def gather_parameters(
    pipeline: Pipeline, *, words: Sequence[str] = (), file: str = "", environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The parameters that a caller gives; ``KEY=VALUE`` words win over the file, the file over the environment.

    Args:
        pipeline: Declares names, types and defaults.
        words: ``KEY=VALUE``.
        file: URI of a YAML or JSON file with one mapping; empty: none.
        environ: Variables that begin with ``LADING_PARAM_`` count.

    Returns:
        By name; a parameter that has a default and was not given is left out.

    Raises:
        InvalidInput: names every unknown key, every value of the wrong type, and every required one that is missing.
        NotFound: there is no such file.
    """
    declared = pipeline.parameters
    found: dict[str, Any] = {}
    problems: list[str] = []

    def take(key: str, value: Any, origin: str, read: Callable[[str, Any], Any]) -> None:
        if key not in declared:
            problems.append(f"{origin}: {key!r} is not a parameter (there are: {', '.join(declared) or 'none'})")
            return
        try:
            found[key] = read(str(declared[key].get("parameterType", "STRING")), value)
        except ValueError as error:
            problems.append(f"{origin}: {key}: {error}")

    for name, value in sorted((environ or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            take(name.removeprefix(ENVIRONMENT_PREFIX).lower(), value, name, _from_text)
    for key, value in _read_mapping(file).items():
        take(str(key), value, file, _from_value)
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            take(key, value, "--set", _from_text)
        else:
            problems.append(f"--set: expected KEY=VALUE, received {word!r}")
    problems += [f"{key}: missing, and it has no default" for key in declared if _required(key, declared, found)]
    if problems:
        raise InvalidInput(f"parameters of {pipeline.name}: " + "; ".join(problems))
    return found


def _required(key: str, declared: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any]) -> bool:
    return key not in found and "defaultValue" not in declared[key] and not declared[key].get("isOptional")


def _read_mapping(file: str) -> dict[Any, Any]:
    if not file:
        return {}
    import yaml

    try:
        content = yaml.safe_load(read_bytes(file))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: expected YAML with one mapping from parameter to value: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{file}: expected YAML with one mapping from parameter to value, received {content!r:.80}")
    return content


def _from_text(kind: str, text: str) -> Any:
    """A word of the command line or a variable, by the declared type. ValueError says what was expected."""
    if kind == "STRING":
        return text
    if kind == "BOOLEAN":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, received {text!r}")
        return text.lower() == "true"
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return _from_value(kind, value)


def _from_value(kind: str, value: Any) -> Any:
    """A value of a file by the declared type. A mapping or list for a STRING becomes JSON text."""
    if kind == "STRING" and isinstance(value, dict | list):
        return json.dumps(value)
    if kind == "NUMBER_DOUBLE" and type(value) is int:
        return float(value)
    if kind == "NUMBER_INTEGER" and type(value) is float and value.is_integer():
        return int(value)
    kinds: dict[str, tuple[type, str]] = {
        "STRING": (str, "text"),
        "BOOLEAN": (bool, "true or false"),
        "NUMBER_INTEGER": (int, "a whole number"),
        "NUMBER_DOUBLE": (float, "a number"),
        "LIST": (list, "a JSON list"),
        "STRUCT": (dict, "a JSON object"),
    }
    wanted, words = kinds.get(kind, (object, kind))
    finite = not isinstance(value, float) or math.isfinite(value)
    if not finite or not isinstance(value, wanted) or (kind == "NUMBER_INTEGER" and isinstance(value, bool)):
        hint = ' (in YAML, put it into quotes: "…")' if kind == "STRING" else ""
        raise ValueError(f"expected {words}, received {value!r}{hint}")
    return value


def resolved_path(value: str) -> str:
    """A path of the caller's made absolute, so that a process in another place reads the same file; URIs stay."""
    return str(Path(value).resolve()) if value and "://" not in value and Path(value).exists() else value


def absolute_places(value: str) -> str:
    """Places of the caller's, one a line, made absolute, whether or not something is there; URIs stay, and an ``@``."""
    return "\n".join(line if not line or "://" in line else _absolute(line) for line in value.splitlines())


def _absolute(place: str) -> str:
    mark = "@" if place.startswith("@") else ""
    slash = "/" if place.endswith("/") else ""
    return f"{mark}{Path(place.removeprefix('@')).absolute()}{slash}"
