"""Give a candidate that answered rightly all of the traffic."""

from dataclasses import replace

from lading.errors import InvalidInput, LadingError, RolloutInProgress
from lading.results import Candidate, Promotion, SmokeReport, TrafficTarget
from lading.targets.base import LEASE_SECONDS, Phase, ServiceState, Target
from lading.wait import Deadline


def promote_candidate(candidate: Candidate, report: SmokeReport, *, target: Target, deadline: Deadline) -> Promotion:
    """Send all traffic of a service to the candidate, and read back from the target that it is so.

    The split and the state of the release change in one write. A repeated call goes on where the first one stopped.

    Args:
        candidate: What ``deploy`` returned.
        report: The passing smoke report of this very candidate.
        target: Where the service lives.
        deadline: When to give up.

    Raises:
        InvalidInput: the report is negative, or is about another revision or image.
        RolloutInProgress: the release was undone, or another one holds the service.
        Conflict: the service changed in the meantime.
    """
    _check(candidate, report)
    state = _state(candidate, target, deadline)
    assert state.rollout is not None
    rollout, wanted = state.rollout, (TrafficTarget(candidate.revision, 100),)
    if rollout.phase is Phase.CANDIDATE:
        rollout = replace(rollout, after=wanted).now(Phase.SHIFTING, lease_seconds=LEASE_SECONDS)
        state = target.shift(state, wanted, rollout, deadline=deadline)
    if state.serving() != wanted:
        raise LadingError(
            f"{candidate.target} reports the split {_words(state.serving())} after {_words(wanted)} was written: "
            "look at the service, then run again"
        )
    if rollout.phase is Phase.SHIFTING:
        state = target.shift(state, wanted, rollout.now(Phase.PROMOTED), deadline=deadline)
    return Promotion(
        service=candidate.service,
        target=candidate.target,
        release_id=candidate.release_id,
        revision=candidate.revision,
        url=state.url,
        before=rollout.before,
        after=state.serving(),
        reason=f"{len(report.answers)} of {len(report.answers)} smoke answers were right",
    )


def _check(candidate: Candidate, report: SmokeReport) -> None:
    if not report.passed:
        raise InvalidInput(
            f"revision {report.revision} did not pass its smoke test: only one that passed can be promoted"
        )
    if (report.revision, report.image) != (candidate.revision, candidate.image):
        raise InvalidInput(
            f"expected the smoke report of {candidate.revision} ({candidate.image}), "
            f"received that of {report.revision} ({report.image})"
        )


def _state(candidate: Candidate, target: Target, deadline: Deadline) -> ServiceState:
    """The service, if the candidate's release still holds it."""
    state = target.get(candidate.service, deadline=deadline)
    if state is None:
        raise RolloutInProgress(f"service {candidate.service} is gone: its release was undone; deploy again")
    rollout = state.rollout
    if rollout is None or rollout.id != candidate.release_id or rollout.phase is Phase.UNDONE:
        raise RolloutInProgress(
            f"release {candidate.release_id} no longer holds service {candidate.service} "
            f"({'none does' if rollout is None else f'{rollout.id}: {rollout.phase.value}'}): deploy again"
        )
    return state


def _words(traffic: tuple[TrafficTarget, ...]) -> str:
    return ", ".join(f"{line.revision} {line.percent} %" for line in traffic) or "nothing"
