"""Ask a running revision the golden requests, and judge its answers."""

import math
import statistics
import time
from typing import Any

import requests

from lading.errors import NotFound, RemoteError
from lading.results import Candidate, SmokeAnswer, SmokeReport
from lading.targets.door import Door
from lading.values import Check, GoldenRequest
from lading.wait import Deadline, poll

MAX_MEDIAN_MILLISECONDS = 1000.0
"""The median answer may take this long unless the caller says otherwise."""


def smoke_test(
    candidate: Candidate,
    golden: tuple[GoldenRequest, ...],
    *,
    door: Door,
    deadline: Deadline,
    max_median_milliseconds: float = MAX_MEDIAN_MILLISECONDS,
) -> SmokeReport:
    """Send each golden request to the candidate alone and compare its answer with the golden one.

    Judged are the status, the names, shape and type of the outputs, that numbers are finite and agree within the
    tolerances of the request, the median latency, and that the revision and the model that answer are the candidate's.

    Args:
        candidate: What ``deploy`` returned.
        golden: Requests with known answers.
        door: The way to the candidate alone: ``Target.door``.
        deadline: When to give up.
        max_median_milliseconds: Largest median time of an answer, in milliseconds.

    Raises:
        ServiceUnreachable: nothing answers at the candidate's URL.
        DeadlineExceeded: the candidate does not become ready, or does not answer, in time.
    """
    poll(
        lambda: True if door.is_ready(deadline=deadline) else None,
        deadline=deadline,
        what=f"revision {candidate.revision} to be ready",
    )
    answers, identities = [], set()
    for request in golden:
        answer, identity = _ask(door, request, deadline)
        answers.append(answer)
        identities.add(identity)
    median = statistics.median(answer.milliseconds for answer in answers) if answers else 0.0
    checks = (
        _answers_check(answers),
        _identity_check("revision", {i[0] for i in identities}, candidate.revision),
        _identity_check("model", {i[1] for i in identities}, candidate.model_diff_id),
        Check(
            "latency", median <= max_median_milliseconds, f"median ≤ {max_median_milliseconds:g} ms", f"{median:.1f} ms"
        ),
    )
    return SmokeReport(
        passed=all(check.passed for check in checks),
        image=candidate.image,
        revision=candidate.revision,
        url=candidate.url,
        checks=checks,
        answers=tuple(answers),
        median_milliseconds=median,
    )


def _ask(door: Door, golden: GoldenRequest, deadline: Deadline) -> tuple[SmokeAnswer, tuple[str, str]]:
    """Send one request; return how it went, and which revision and model answered."""
    body = {"signature_name": golden.signature, "inputs": golden.request}
    start = time.perf_counter()
    try:
        answer = door.predict(body, deadline=deadline)
    except (RemoteError, NotFound) as error:
        # The revision answered, wrongly: that is a verdict, not a failure of the test.
        return _judged(golden, {}, start, str(error)), ("", "")
    identity = (answer.headers.get("x-lading-revision", ""), answer.headers.get("x-lading-model", ""))
    try:
        outputs = _outputs(answer, golden)
    except ValueError as error:
        return _judged(golden, {}, start, f"expected JSON with outputs, received {error}"), identity
    return _judged(golden, outputs, start, _difference(golden, outputs)), identity


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
    milliseconds = (time.perf_counter() - start) * 1000
    finite = {name: value for name, value in outputs.items() if _is_finite(value)}
    return SmokeAnswer(golden.signature, not problem, round(milliseconds, 3), problem, golden.request, finite)


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


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _answers_check(answers: list[SmokeAnswer]) -> Check:
    wrong = [answer for answer in answers if not answer.passed]
    received = f"{len(answers) - len(wrong)} of {len(answers)} right" + (
        f"; first: {wrong[0].problem}" if wrong else ""
    )
    return Check(
        "answers", bool(answers) and not wrong, "every golden request answered rightly, at least one", received
    )


def _identity_check(what: str, received: set[str], expected: str) -> Check:
    """Whether every answer named the revision or model that was deployed, so that nothing else was tested."""
    return Check(what, received == {expected}, expected, ", ".join(sorted(received)) or "nothing")
