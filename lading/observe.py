"""Watch a step of a rollout: does the candidate answer as well as what served before?"""

import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lading.asking import Identity, ask_golden, ask_instances
from lading.errors import LadingError
from lading.judging import CHANCE, CHANCE_EARLY, ENOUGH_USERS, Limits, judge_probes, judge_users
from lading.releases import Candidate, RevisionHealth, SmokeAnswer, SmokeReport, StepReport
from lading.targets.base import Target
from lading.targets.door import Door
from lading.targets.traffic import TrafficSeen
from lading.values import Check, GoldenRequest
from lading.wait import Deadline

_AT_ONCE = 4
_LOOK_SECONDS = 1.0
"""So often the users' requests are looked at during a step."""
RTOL, ATOL = 1e-3, 1e-4
"""One revision may compute on processors of several kinds, which differ in the last digits."""


@dataclass(frozen=True)
class Questions:
    """What is asked."""

    golden: tuple[GoldenRequest, ...]
    """With known answers; at least one."""
    instances: tuple[Mapping[str, Any], ...] = ()
    """The user's own request bodies; any finite answer will do."""

    @classmethod
    def of(cls, report: SmokeReport, instances: tuple[Mapping[str, Any], ...] = ()) -> "Questions":
        """Those that a candidate has answered rightly in its smoke test, to be answered so again; and these."""
        return cls(
            tuple(
                GoldenRequest(answer.signature, answer.request, answer.response, RTOL, ATOL)
                for answer in report.answers
            ),
            instances,
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


class Users:
    """What a target sees of the users' requests, from the making of this on.

    Args:
        target: Where the service lives.
        candidate: What ``deploy`` returned.
        before: The revisions that served before it.
        deadline: When to give up.
    """

    def __init__(self, target: Target, candidate: Candidate, before: Collection[str], deadline: Deadline) -> None:
        self._target, self._candidate, self._before = target, candidate, before
        self._deadline = deadline
        self._first = self._seen()
        self._next = time.monotonic() + _LOOK_SECONDS

    def judge(
        self, limits: Limits, *, chance: float = CHANCE
    ) -> "tuple[RevisionHealth | None, RevisionHealth | None, tuple[Check, ...]]":
        """How the users of the candidate fared, those of what served before, and the checks."""
        if not self._target.capabilities.sees_traffic:
            return None, None, ()
        now = self._seen()
        name, old = self._candidate.revision, [name for name in self._before if name in now]
        if name not in now:
            return None, None, ()
        ours = _health(name, now[name].after(self._first.get(name)))
        beside = TrafficSeen.of_all(now[one].after(self._first.get(one)) for one in old)
        others = beside if beside and beside.requests >= ENOUGH_USERS else TrafficSeen.of_all(now[one] for one in old)
        theirs = _health("what served before", others) if others else None
        checks = judge_users(ours, theirs, limits, beside=others is beside, chance=chance) if theirs else ()
        return ours, theirs if checks else None, checks

    def suffer(self, limits: Limits) -> bool:
        """Whether the candidate's users fare badly; looks once a second, and else says no."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _LOOK_SECONDS
        return not all(check.passed for check in self.judge(limits, chance=CHANCE_EARLY)[2])

    def _seen(self) -> Mapping[str, TrafficSeen]:
        return self._target.traffic_seen(self._candidate.service, deadline=self._deadline)


def _health(revision: str, seen: TrafficSeen) -> RevisionHealth:
    median, p95 = (round(seen.quantile_milliseconds(share), 3) for share in (0.5, 0.95))
    return RevisionHealth(revision, seen.requests, seen.errors, 0, median, p95, refused=seen.refused)


def observe_step(
    candidate: Candidate,
    percent: int,
    questions: Questions,
    *,
    candidate_door: Door,
    service_door: Door,
    users: Users,
    hold_seconds: float,
    limits: Limits,
    deadline: Deadline,
) -> StepReport:
    """Ask the candidate and the service for a while, look how its users fare, and judge.

    The candidate is asked through its own door and, with the share of its traffic, through that of the service; what
    answers there for others is what the candidate is compared with. A candidate that is plainly bad ends the step at
    once.

    Args:
        candidate: What ``deploy`` returned.
        percent: Its share of the traffic in this step.
        questions: What is asked.
        candidate_door: To the candidate alone.
        service_door: To the service, as its users come.
        users: What the target sees of their requests from the beginning of the step on.
        hold_seconds: How long the step lasts at least.
        limits: What is good enough.
        deadline: When to give up.
    """
    began = time.monotonic()
    watch = _Watch(candidate, questions, deadline)
    tolerated = int(limits.max_error_rate * limits.probes) + 3
    with _Asker(watch) as asker:
        for number in range(limits.probes):
            deadline.sleep(max(0.0, began + number * hold_seconds / limits.probes - time.monotonic()))
            asker.ask(candidate_door, number, is_candidate=True)
            if percent < 100 and number % 2:
                asker.ask(service_door, number, is_candidate=False)
            failing = watch.candidate.errors + watch.candidate.wrong > tolerated
            if deadline.passed or failing or users.suffer(limits):
                break
    watch.raise_if_failed()
    ours, others = watch.candidate.health(candidate.revision), watch.others.health("what served before")
    of_users, of_users_before, users_checks = users.judge(limits)
    checks = (*judge_probes(ours, others, limits), *users_checks)
    return StepReport(
        percent=percent,
        passed=all(check.passed for check in checks),
        checks=checks,
        candidate=ours,
        others=others if others.requests else None,
        seconds=round(time.monotonic() - began, 3),
        users=of_users,
        users_before=of_users_before,
    )


class _Asker:
    """A few threads that ask; whoever gives them more than they can do waits."""

    def __init__(self, watch: "_Watch") -> None:
        self._watch = watch
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="observe")
        self._places = threading.BoundedSemaphore(2 * _AT_ONCE)

    def __enter__(self) -> "_Asker":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def ask(self, door: Door, number: int, *, is_candidate: bool) -> None:
        """Send the question of this number, soon."""
        self._places.acquire()
        future: Future[None] = self._pool.submit(self._watch.ask, door, number, is_candidate=is_candidate)
        future.add_done_callback(lambda _: self._places.release())


class _Watch:
    """Asks, and counts who answered how."""

    def __init__(self, candidate: Candidate, questions: Questions, deadline: Deadline) -> None:
        self.candidate, self.others = _Tally(), _Tally()
        self._revision = candidate.revision
        self._deadline = deadline
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._asks: list[Callable[[Door], tuple[SmokeAnswer, Identity]]] = [
            *(self._golden(golden) for golden in questions.golden),
            *(self._instances(body) for body in questions.instances),
        ]

    def ask(self, door: Door, number: int, *, is_candidate: bool) -> None:
        """Send the question of this number, and count its answer."""
        try:
            answer, identity = self._asks[number % len(self._asks)](door)
            failed = not (answer.passed or answer.response or identity.revision)
        except LadingError as error:  # nobody answered: for users that is an error like any other
            answer, identity, failed = SmokeAnswer("", False, 0.0, str(error)), Identity(), True
        except Exception as error:
            self._failure = error
            return
        with self._lock:
            ours = is_candidate or identity.revision == self._revision
            tally = self.candidate if ours else self.others
            if failed:
                tally.errors += 1
            else:
                tally.milliseconds.append(answer.milliseconds)
                # What served before may be another model, whose right answers nobody told us.
                tally.wrong += bool(answer.problem) and ours
            if ours and not tally.problem:
                tally.problem = answer.problem

    def raise_if_failed(self) -> None:
        """Raise what went wrong in this program itself."""
        if self._failure is not None:
            raise self._failure

    def _golden(self, golden: GoldenRequest) -> Callable[[Door], tuple[SmokeAnswer, Identity]]:
        return lambda door: ask_golden(door, golden, deadline=self._deadline)

    def _instances(self, body: Mapping[str, Any]) -> Callable[[Door], tuple[SmokeAnswer, Identity]]:
        return lambda door: ask_instances(door, body, deadline=self._deadline)
