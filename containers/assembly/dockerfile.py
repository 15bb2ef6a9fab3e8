"""What the last stage of a Dockerfile says about the image: one source for Docker and for the assembly without it.

Source: Dockerfile reference. Of its instructions only those of a configuration count, in the forms that this project
writes them in; ``FROM``, ``COPY`` and ``RUN`` are files, which the assembly brings by itself.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from lading.errors import InvalidInput

_CONTINUED = re.compile(r"\\\n(?:\s*#[^\n]*\n)*")
_SHARED = re.compile(r"mkdir -m 1777((?: /[\w/-]+)+)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def last_stage(text: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """The ``config`` of an OCI image configuration, as ``docker build`` would write it.

    Args:
        text: Of the Dockerfile.
        arguments: Build arguments: each stands for the default of an ``ARG`` in the last stage.

    Raises:
        InvalidInput: an instruction is in a form that is not read here.
    """
    instructions = [line.split(maxsplit=1) for line in _lines(text)]
    start = max(index for index, (word, *_) in enumerate(instructions) if word == "FROM")
    known: dict[str, str] = {}
    config: dict[str, Any] = {"Env": {}, "Labels": {}, "ExposedPorts": {}}
    for word, rest in instructions[start + 1 :]:
        if word == "ARG":
            name, _, default = rest.partition("=")
            known[name] = arguments.get(name, default)
        elif word not in ("COPY", "RUN"):
            _apply(config, word, _VARIABLE.sub(lambda found: known[found[1]], rest))
    config["Env"] = [f"{name}={value}" for name, value in config["Env"].items()]
    return {key: value for key, value in config.items() if value}


def shared_directories(text: str) -> list[str]:
    """Directories that the last stage makes for everyone to write into; all that a ``RUN`` in it may do.

    Raises:
        InvalidInput: a ``RUN`` does something else.
    """
    found: list[str] = []
    for line in _lines(text.rpartition("\nFROM ")[2]):
        word, _, rest = line.partition(" ")
        if word == "RUN":
            made = _SHARED.fullmatch(rest.strip())
            if not made:
                raise InvalidInput(f"expected instructions that an assembly can follow, found {line}")
            found += made[1].split()
    return found


def _lines(text: str) -> list[str]:
    whole = (line.strip() for line in _CONTINUED.sub(" ", text).splitlines())
    return [line for line in whole if line and not line.startswith("#")]


def _apply(config: dict[str, Any], word: str, rest: str) -> None:
    match word:
        case "ENV":
            config["Env"].update(_pairs(rest))
        case "LABEL":
            config["Labels"].update(_pairs(rest))
        case "EXPOSE":
            config["ExposedPorts"].update({f"{port}/tcp": {} for port in rest.split()})
        case "USER":
            config["User"] = rest
        case "WORKDIR":
            config["WorkingDir"] = rest
        case "ENTRYPOINT" | "CMD" if rest.startswith("["):
            config[word.capitalize()] = json.loads(rest)
        case _:
            raise InvalidInput(f"expected instructions that an assembly can follow, found {word} {rest}")


def _pairs(rest: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(rest))
