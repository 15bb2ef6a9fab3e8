"""Watch a step of a rollout: does the candidate answer as well as what served before?"""

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lading.asking import Identity, ask_golden, identity_of, is_finite
from lading.errors import LadingError, NotFound, RemoteError
from lading.releases import Candidate, RevisionHealth, SmokeReport, StepReport
from lading.targets.door import Door
from lading.values import Check, GoldenRequest
from lading.wait import Deadline

_AT_ONCE = 4
_ENOUGH = 20
"""From so many answers on the latency of what served before is a measure."""
_SLACK_MILLISECONDS = 10.0
RTOL, ATOL = 1e-3, 1e-4
"""One revision may compute on processors of several kinds, which differ in the last digits."""


@dataclass(frozen=True)
class Limits:
    """When a step of a rollout is good enough."""

    probes: int = 500
    """Requests to the candidate in each step: of a fault in 1 % of the answers one among them is all but certain."""
    max_error_rate: float = 0.001
    """The candidate's share of errors may exceed that of what served before by so much."""
    max_latency_ratio: float = 3.0
    """The candidate's median latency may be so many times that of what served before, and 10 ms more."""


@dataclass(frozen=True)
class Questions:
    """What is asked."""

    golden: tuple[GoldenRequest, ...]
    """With known answers; at least one."""
    instances: tuple[Mapping[str, Any], ...] = ()
    """The user's own request bodies; any finite answer will do."""

    @classmethod
    def of(cls, report: SmokeReport) -> "Questions":
        """Those that a candidate has answered rightly in its smoke test, to be answered so again."""
        return cls(
            tuple(
                GoldenRequest(answer.signature, answer.request, answer.response, RTOL, ATOL)
                for answer in report.answers
            )
        )


@dataclass
class _Tally:
    """What was seen of one revision; several threads add to it."""

    milliseconds: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: int = 0
    problem: str = ""

    def health(self, revision: str) -> RevisionHealth:
        times = sorted(self.milliseconds)
        return RevisionHealth(
            revision=revision,
            requests=len(times) + self.errors,
            errors=self.errors,
            wrong=self.wrong,
            median_milliseconds=round(statistics.median(times), 3) if times else 0.0,
            p95_milliseconds=round(times[min(len(times) - 1, int(len(times) * 0.95))], 3) if times else 0.0,
            problem=self.problem,
        )


def observe_step(
    candidate: Candidate,
    percent: int,
    questions: Questions,
    *,
    candidate_door: Door,
    service_door: Door,
    hold_seconds: float,
    limits: Limits,
    deadline: Deadline,
) -> StepReport:
    """Ask the candidate and the service for a while, and judge.

    The candidate is asked through its own door and, with the share of its traffic, through that of the service; what
    answers there for others is what the candidate is compared with. A candidate that is plainly bad ends the step at
    once.

    Args:
        candidate: What ``deploy`` returned.
        percent: Its share of the traffic in this step.
        questions: What is asked.
        candidate_door: To the candidate alone.
        service_door: To the service, as its users come.
        hold_seconds: How long the step lasts at least.
        limits: What is good enough.
        deadline: When to give up.
    """
    began = time.monotonic()
    watch = _Watch(candidate, questions, deadline)
    pause = hold_seconds / limits.probes
    tolerated = int(limits.max_error_rate * limits.probes) + 3
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="observe") as pool:
        places = threading.BoundedSemaphore(2 * _AT_ONCE)

        def ask(door: Door, number: int, *, is_candidate: bool) -> None:
            places.acquire()
            future: Future[None] = pool.submit(watch.ask, door, number, is_candidate=is_candidate)
            future.add_done_callback(lambda _: places.release())

        for number in range(limits.probes):
            deadline.sleep(max(0.0, began + number * pause - time.monotonic()))
            ask(candidate_door, number, is_candidate=True)
            if percent < 100 and number % 2:
                ask(service_door, number, is_candidate=False)
            if deadline.passed or watch.candidate.errors + watch.candidate.wrong > tolerated:
                break
    watch.raise_if_failed()
    ours, others = watch.candidate.health(candidate.revision), watch.others.health("what served before")
    checks = _checks(ours, others, limits)
    return StepReport(
        percent=percent,
        passed=all(check.passed for check in checks),
        checks=checks,
        candidate=ours,
        others=others if others.requests else None,
        seconds=round(time.monotonic() - began, 3),
    )


class _Watch:
    """Asks, and counts who answered how."""

    def __init__(self, candidate: Candidate, questions: Questions, deadline: Deadline) -> None:
        self.candidate, self.others = _Tally(), _Tally()
        self._revision = candidate.revision
        self._deadline = deadline
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._asks: list[Callable[[Door], tuple[float, str, bool, Identity]]] = [
            *(self._golden(golden) for golden in questions.golden),
            *(self._instances(body) for body in questions.instances),
        ]

    def ask(self, door: Door, number: int, *, is_candidate: bool) -> None:
        """Send the question of this number, and count its answer."""
        try:
            milliseconds, problem, failed, identity = self._asks[number % len(self._asks)](door)
        except LadingError as error:  # nobody answered: for users that is an error like any other
            milliseconds, problem, failed, identity = 0.0, str(error), True, Identity()
        except Exception as error:
            self._failure = error
            return
        with self._lock:
            ours = is_candidate or identity.revision == self._revision
            tally = self.candidate if ours else self.others
            if failed:
                tally.errors += 1
            else:
                tally.milliseconds.append(milliseconds)
                # What served before may be another model, whose right answers nobody told us.
                tally.wrong += bool(problem) and ours
            if problem and ours and not tally.problem:
                tally.problem = problem

    def raise_if_failed(self) -> None:
        """Raise what went wrong in this program itself."""
        if self._failure is not None:
            raise self._failure

    def _golden(self, golden: GoldenRequest) -> Callable[[Door], tuple[float, str, bool, Identity]]:
        def ask(door: Door) -> tuple[float, str, bool, Identity]:
            answer, identity = ask_golden(door, golden, deadline=self._deadline)
            failed = not answer.passed and not answer.response and not identity.revision
            return answer.milliseconds, answer.problem, failed, identity

        return ask

    def _instances(self, body: Mapping[str, Any]) -> Callable[[Door], tuple[float, str, bool, Identity]]:
        def ask(door: Door) -> tuple[float, str, bool, Identity]:
            start = time.perf_counter()
            try:
                answer = door.predict(body, deadline=self._deadline)
            except (RemoteError, NotFound) as error:
                return 0.0, str(error), True, Identity()
            milliseconds = (time.perf_counter() - start) * 1000
            try:
                problem = "" if is_finite(answer.json()) else "an answer to the given instances is not finite"
            except ValueError:
                problem = f"expected JSON, received {answer.text[:200]!r}"
            return milliseconds, problem, False, identity_of(answer)

        return ask


def _checks(ours: RevisionHealth, others: RevisionHealth, limits: Limits) -> tuple[Check, ...]:
    allowed = others.error_rate + limits.max_error_rate
    first = f"; first: {ours.problem}" if ours.problem else ""
    checks = [
        Check(
            "answers",
            ours.requests > ours.errors and not ours.wrong,
            "every answer right",
            f"{ours.requests - ours.errors - ours.wrong} of {ours.requests - ours.errors} right"
            + (first if ours.wrong else ""),
        ),
        Check(
            "errors",
            ours.error_rate <= allowed,
            f"at most {allowed:.2%} of the requests",
            f"{ours.errors} of {ours.requests}" + (first if ours.errors else ""),
        ),
    ]
    if others.requests - others.errors >= _ENOUGH:
        most = others.median_milliseconds * limits.max_latency_ratio + _SLACK_MILLISECONDS
        received = f"median {ours.median_milliseconds:.1f} ms, beside {others.median_milliseconds:.1f} ms before"
        checks.append(Check("latency", ours.median_milliseconds <= most, f"median ≤ {most:.1f} ms", received))
    return tuple(checks)


def read_instances(bodies: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """The user's own requests out of parsed JSON: one body with ``instances`` or ``inputs``, or a list of such.

    Raises:
        InvalidInput: something else.
    """
    from lading.errors import InvalidInput

    for body in bodies:
        if not isinstance(body, dict) or not ("instances" in body or "inputs" in body):
            raise InvalidInput('instances: expected an object such as {"instances": [...]}, or a list of such objects')
    return tuple(bodies)
