"""A prediction request as a command that can be pasted into a shell."""

import json
import shlex
from pathlib import Path
from typing import Any

_MOST_CHARACTERS = 3000
"""A longer body goes into a file: a terminal is no place for it."""


def curl_command(url: str, model: str, request: dict[str, Any], *, body_file: Path | None = None) -> str:
    """A POSIX shell command that sends a request in TensorFlow Serving's row form.

    Args:
        url: Of the service.
        model: Name of the model.
        request: For each input its value as nested lists, with a batch axis.
        body_file: Where a long body stands; the caller writes ``row_body(request)`` there.
    """
    body = row_body(request)
    data = f"@{body_file}" if body_file and len(body) > _MOST_CHARACTERS else body
    return f"curl -s -d {shlex.quote(data)} {shlex.quote(f'{url}/v1/models/{model}:predict')}"


def row_body(request: dict[str, Any]) -> str:
    """``{"instances": […]}``: plain values for a single input, else one object for each row."""
    if len(request) == 1:
        instances = next(iter(request.values()))
    else:
        rows = len(next(iter(request.values())))
        instances = [{name: values[row] for name, values in request.items()} for row in range(rows)]
    return json.dumps({"instances": instances}, separators=(",", ":"))
