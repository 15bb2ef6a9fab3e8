"""Ask a running revision the golden requests, and judge its answers."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lading.asking import ask_golden, ask_instances
from lading.releases import Candidate, SmokeAnswer, SmokeReport
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
    instances: Sequence[Mapping[str, Any]] = (),
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
        instances: The user's own requests; any finite answer is right (``asking.parse_instances``).
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
    asked = [ask_golden(door, request, deadline=deadline) for request in golden]
    asked_own = [ask_instances(door, body, deadline=deadline) for body in instances]
    answers, own = [answer for answer, _ in asked], [answer for answer, _ in asked_own]
    identities = {identity for _, identity in asked + asked_own}
    median = statistics.median(answer.milliseconds for answer in answers) if answers else 0.0
    checks = (
        _answers_check("answers", answers, "every golden request answered rightly, at least one"),
        *([_answers_check("instances", own, "every own request answered, finitely")] if own else ()),
        _identity_check("revision", {i.revision for i in identities}, candidate.revision),
        _identity_check("model", {i.model for i in identities}, candidate.model_diff_id),
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


def _answers_check(name: str, answers: list[SmokeAnswer], expected: str) -> Check:
    wrong = [answer for answer in answers if not answer.passed]
    received = f"{len(answers) - len(wrong)} of {len(answers)} right" + (
        f"; first: {wrong[0].problem}" if wrong else ""
    )
    return Check(name, bool(answers) and not wrong, expected, received)


def _identity_check(what: str, received: set[str], expected: str) -> Check:
    """Whether every answer named the revision or model that was deployed, so that nothing else was tested."""
    return Check(what, received == {expected}, expected, ", ".join(sorted(received)) or "nothing")
