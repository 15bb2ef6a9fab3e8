"""Asks a served model, and compares its answers with those that are known to be right."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import requests

from lading.errors import AccessDenied, InvalidInput, NotFound, RemoteError, ServiceUnreachable
from lading.releases import SmokeAnswer
from lading.targets.door import Door
from lading.values import GoldenRequest
from lading.wait import Deadline


class Identity(NamedTuple):
    """Who answered, as the answer says; empty where it does not."""

    revision: str = ""
    model: str = ""
    """Digest of the uncompressed model layer."""


def ask_golden(door: Door, golden: GoldenRequest, *, deadline: Deadline) -> tuple[SmokeAnswer, Identity]:
    """Send a request whose right answer is known; say how it went, and who answered.

    Raises:
        AccessDenied: we may not ask.
        DeadlineExceeded: no answer came in time.
    """
    body = {"signature_name": golden.signature, "inputs": golden.request}
    start = time.perf_counter()
    try:
        answer = door.predict(body, deadline=deadline)
    except AccessDenied:  # says nothing of the model, and a credential is not a thing to judge
        raise
    except (RemoteError, NotFound, ServiceUnreachable) as error:
        # The revision answered wrongly, or died of what it was asked: a verdict, not a failure of the test.
        return _judged(golden, {}, start, str(error)), Identity()
    identity = identity_of(answer)
    try:
        outputs = _outputs(answer, golden)
    except ValueError as error:
        return _judged(golden, {}, start, f"expected JSON with outputs, received {error}"), identity
    return _judged(golden, outputs, start, _difference(golden, outputs)), identity


def ask_instances(door: Door, body: Mapping[str, Any], *, deadline: Deadline) -> tuple[SmokeAnswer, Identity]:
    """Send a request of the user's own, to which any finite answer is right; say how it went, and who answered.

    Raises:
        AccessDenied: we may not ask.
        DeadlineExceeded: no answer came in time.
    """
    signature, asked = str(body.get("signature_name", "")), dict(body)
    start = time.perf_counter()
    try:
        answer = door.predict(body, deadline=deadline)
    except AccessDenied:
        raise
    except (RemoteError, NotFound, ServiceUnreachable) as error:
        return SmokeAnswer(signature, False, _since(start), str(error), asked), Identity()
    try:
        problem = "" if is_finite(answer.json()) else "an answer to the given instances is not finite"
    except ValueError:
        problem = f"expected JSON, received {answer.text[:200]!r}"
    return SmokeAnswer(signature, not problem, _since(start), problem, asked), identity_of(answer)


def parse_instances(text: str | bytes) -> tuple[Mapping[str, Any], ...]:
    """The user's own requests: the JSON of one body with ``instances`` or ``inputs``, or of a list of such.

    Raises:
        InvalidInput: something else.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"instances: expected JSON: {error}") from error
    bodies = found if isinstance(found, list) else [found]
    if not bodies or not all(isinstance(one, dict) and ("instances" in one or "inputs" in one) for one in bodies):
        raise InvalidInput('instances: expected an object such as {"instances": [...]}, or a list of such objects')
    return tuple(bodies)


def identity_of(answer: requests.Response) -> Identity:
    """Who gave an answer."""
    return Identity(answer.headers.get("x-lading-revision", ""), answer.headers.get("x-lading-model", ""))


def is_finite(value: Any) -> bool:
    """Whether a JSON value holds neither NaN nor infinity."""
    if isinstance(value, dict):
        return all(is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _outputs(answer: requests.Response, golden: GoldenRequest) -> dict[str, Any]:
    """The outputs by name; TensorFlow Serving leaves out the name of an only output."""
    body = answer.json()
    if not isinstance(body, dict) or "outputs" not in body:
        raise ValueError(answer.text[:200])
    outputs = body["outputs"]
    if len(golden.response) == 1 and not (isinstance(outputs, dict) and outputs.keys() == golden.response.keys()):
        return {next(iter(golden.response)): outputs}
    if not isinstance(outputs, dict):
        raise ValueError(answer.text[:200])
    return outputs


def _judged(golden: GoldenRequest, outputs: dict[str, Any], start: float, problem: str) -> SmokeAnswer:
    finite = {name: value for name, value in outputs.items() if is_finite(value)}
    return SmokeAnswer(golden.signature, not problem, _since(start), problem, golden.request, finite)


def _since(start: float) -> float:
    """Milliseconds since a reading of the performance counter."""
    return round((time.perf_counter() - start) * 1000, 3)


def _difference(golden: GoldenRequest, outputs: dict[str, Any]) -> str:
    """The first difference between the golden answer and the one that came; empty when they agree."""
    if outputs.keys() != golden.response.keys():
        return f"expected outputs {sorted(golden.response)}, received {sorted(outputs)}"
    for name, expected in golden.response.items():
        problem = _compare(expected, outputs[name], golden, name)
        if problem:
            return problem
    return ""


def _compare(expected: Any, received: Any, golden: GoldenRequest, where: str) -> str:
    if type(expected) is not type(received):
        return f"{where}: expected {_kind(expected)}, received {_kind(received)}"
    if isinstance(expected, list):
        if len(expected) != len(received):
            return f"{where}: expected {len(expected)} elements, received {len(received)}"
        problems = (
            _compare(e, r, golden, f"{where}[{i}]") for i, (e, r) in enumerate(zip(expected, received, strict=True))
        )
        return next((problem for problem in problems if problem), "")
    if isinstance(expected, float):
        if not math.isfinite(received):
            return f"{where}: expected {expected:g}, received {received}"
        # numpy.isclose: the tolerance is relative to the expected value.
        if abs(received - expected) > golden.atol + golden.rtol * abs(expected):
            return (
                f"{where}: expected {expected:.7g} within {golden.atol:g} + {golden.rtol:g} × value, got {received:.7g}"
            )
        return ""
    return "" if expected == received else f"{where}: expected {expected!r}, received {received!r}"


def _kind(value: Any) -> str:
    names = {float: "a float", int: "an integer", bool: "a boolean", str: "a string", list: "a list"}
    return names.get(type(value), type(value).__name__)
