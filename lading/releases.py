"""What a release results in: a candidate, the verdicts on it, changes of traffic; values, as ``lading.values`` says."""

from dataclasses import dataclass, field
from typing import Any

from lading.values import Check


@dataclass(frozen=True)
class Candidate:
    """A deployed revision that takes no public traffic yet."""

    service: str
    target: str
    release_id: str
    image: str
    """``repository@sha256:…``."""
    model_diff_id: str
    """Digest of the uncompressed model layer: what the revision must say of itself."""
    revision: str
    url: str
    """Where the candidate alone answers."""
    service_url: str
    """Where the service answers, by its traffic split."""
    first_release: bool
    """Whether the service did not exist before this release."""
    model: str = ""
    """Name of the model on the server."""


@dataclass(frozen=True)
class SmokeAnswer:
    """One golden request that was sent, and what came back."""

    signature: str
    passed: bool
    milliseconds: float
    problem: str = ""
    """What was expected and what came; empty when it passed."""
    request: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SmokeReport:
    """The verdict on a running revision: does it answer as the model did when it was trained?"""

    passed: bool
    image: str
    revision: str
    url: str
    checks: tuple[Check, ...]
    answers: tuple[SmokeAnswer, ...]
    median_milliseconds: float


@dataclass(frozen=True)
class TrafficTarget:
    """One line of a traffic split."""

    revision: str
    percent: int
    """0 to 100; the lines of a service sum to 100."""
    tag: str = ""
    url: str = ""
    """Where the tagged revision alone answers; empty without a tag."""


@dataclass(frozen=True)
class RevisionHealth:
    """How a revision answered for a while; lading's own requests, or its users'."""

    revision: str
    requests: int
    errors: int
    """Requests without an answer, or with one of status 400 or more; of users' requests 500 or more."""
    wrong: int
    """Answers that were not the known ones; only the candidate's are known."""
    median_milliseconds: float
    p95_milliseconds: float
    problem: str = ""
    """The first thing that was wrong; empty when nothing was."""
    refused: int = 0
    """Of users' requests: those with an answer of status 400 to 499."""

    @property
    def error_rate(self) -> float:
        """The share of errors, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class StepReport:
    """The verdict on one step of a rollout."""

    percent: int
    """The candidate's share of the traffic."""
    passed: bool
    checks: tuple[Check, ...]
    candidate: RevisionHealth
    others: RevisionHealth | None
    """What answered for the rest of the traffic; None when nothing did."""
    seconds: float
    users: RevisionHealth | None = None
    """How the candidate answered its users, where the target sees their requests."""
    users_before: RevisionHealth | None = None
    """How what served before answered them; None where they were too few to judge by."""


@dataclass(frozen=True)
class Promotion:
    """A change of traffic, as it was read back from the target."""

    service: str
    target: str
    release_id: str
    revision: str
    url: str
    before: tuple[TrafficTarget, ...]
    after: tuple[TrafficTarget, ...]
    reason: str
    passed: bool = True
    """False: a step was not good enough, and the split from before is in force again."""
    steps: tuple[StepReport, ...] = ()
    """Those that were watched."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was asked in all steps."""
        return tuple(
            Check(f"{step.percent} %: {check.name}", check.passed, check.expected, check.received)
            for step in self.steps
            for check in step.checks
        )


@dataclass(frozen=True)
class RolloutReport:
    """The verdict on a rollout: the candidate serves, or what served before does again."""

    passed: bool
    candidate: Candidate
    smoke: SmokeReport
    promotion: Promotion | None
    """None when the smoke test was negative."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was asked, in the order of time."""
        smoke = (Check(f"smoke: {c.name}", c.passed, c.expected, c.received) for c in self.smoke.checks)
        return (*smoke, *(self.promotion.checks if self.promotion else ()))
