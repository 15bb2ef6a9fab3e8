"""A prediction request as a command that can be pasted into a shell."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from lading.report.picture import is_image

_DEFAULT_SIGNATURE = "serving_default"
_MOST_CHARACTERS = 3000
"""A longer body goes into a file, if there is one: a terminal is no place for it."""


_TOKENS = {"cloudrun": "identity", "vertex": "access"}
"""The kind of gcloud's token that a target's services ask for."""
_INSIDE = re.compile(r"http://(?P<service>[^./]+)\.(?P<namespace>[^./]+)\.svc")
"""The URL of a Kubernetes service that only its cluster knows."""


def curl_command(
    url: str,
    model: str,
    request: dict[str, Any],
    signature: str = _DEFAULT_SIGNATURE,
    *,
    target: str = "local:",
    body_file: Path | None = None,
) -> str:
    """A POSIX shell command, in one line, that sends a request to TensorFlow Serving's REST path ``:predict``.

    For Vertex AI that is ``:rawPredict``; into a Kubernetes cluster kubectl goes, through the API server's proxy.

    Args:
        url: Of the service, without a path.
        model: Name of the model.
        request: For each input its value as nested lists, with a leading batch axis.
        signature: What is called.
        target: Where the service lives.
        body_file: Where a body of more than 3000 characters stands; the caller writes ``row_body(request, signature)``
            there. Without it every body is part of the command.
    """
    body = row_body(request, signature)
    file = body_file if body_file and len(body) > _MOST_CHARACTERS else None
    path = f"/v1/models/{model}:predict"
    if inside := _INSIDE.fullmatch(url):
        proxy = f"/api/v1/namespaces/{inside['namespace']}/services/http:{inside['service']}:80/proxy{path}"
        sent = "" if file else f"printf %s {shlex.quote(body)} | "
        return sent + shlex.join(("kubectl", "create", "--raw", proxy, "-f", str(file or "-")))
    scheme = target.partition(":")[0]
    words = ["curl", "-sS"]
    if kind := _TOKENS.get(scheme):
        words += ["-H", f'"Authorization: Bearer $(gcloud auth print-{kind}-token)"']  # for the shell to fill in
    data = f"@{file}" if file else body
    rest = ("-H", "Content-Type: application/json", "-d", data, url + (":rawPredict" if scheme == "vertex" else path))
    return f"{' '.join(words)} {shlex.join(rest)}"


def row_body(request: dict[str, Any], signature: str = _DEFAULT_SIGNATURE) -> str:
    """The JSON of a request in row form, ``{"instances": […]}``: plain values for one input, else an object a row.

    Pixels are shortened to 4 significant digits. Inputs without a common batch axis have no row form: they go as
    ``{"inputs": {…}}`` (https://www.tensorflow.org/tfx/serving/api_rest, "Request format").

    Args:
        request: For each input its value as nested lists, with a leading batch axis.
        signature: Named in the body unless it is ``serving_default``.
    """
    values = {name: _shortened(value) if is_image(value) else value for name, value in request.items()}
    name = {} if signature == _DEFAULT_SIGNATURE else {"signature_name": signature}
    lengths = {len(value) if isinstance(value, list) else -1 for value in values.values()}
    if len(lengths) != 1 or lengths == {-1}:
        body: dict[str, Any] = {**name, "inputs": values}
    elif len(values) == 1:
        body = {**name, "instances": next(iter(values.values()))}
    else:
        rows = zip(*values.values(), strict=True)
        body = {**name, "instances": [dict(zip(values, row, strict=True)) for row in rows]}
    return json.dumps(body, separators=(",", ":"))


def _shortened(value: Any) -> Any:
    """The same numbers with 4 significant digits, whole ones without a point: ``0`` instead of ``0.0``."""
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
