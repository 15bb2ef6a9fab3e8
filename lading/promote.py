"""Give a candidate that answered rightly all of the traffic."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lading.errors import InvalidInput, LadingError, RolloutInProgress
from lading.releases import Candidate, Promotion, SmokeReport, StepReport, TrafficTarget
from lading.targets.base import CANDIDATE_TAG, LEASE_SECONDS, Phase, ServiceState, Target, undo
from lading.wait import Deadline

Watch = Callable[[int], StepReport]
"""Watches the service while the candidate has this percentage of its traffic, and judges."""


def promote_candidate(
    candidate: Candidate,
    report: SmokeReport,
    *,
    target: Target,
    steps: Sequence[int] = (100,),
    watch: Watch | None = None,
    hold_seconds: float = 0.0,
    deadline: Deadline,
) -> Promotion:
    """Send the traffic of a service to the candidate, all at once or in steps, and read back that it is so.

    The split and the state of the release change in one write. A repeated call goes on where the first one stopped.
    When a step is not good enough, the split from before the release is restored.

    Args:
        candidate: What ``deploy`` returned.
        report: The passing smoke report of this very candidate.
        target: Where the service lives.
        steps: Percentages of the traffic, rising, the last one 100. A service that this release created has one step.
        watch: Watches each step. None: nobody does.
        hold_seconds: How long ``watch`` takes, at least: the release stays valid for so much longer.
        deadline: When to give up.

    Raises:
        InvalidInput: the report is negative, or is about another revision or image; the steps do not rise to 100.
        RolloutInProgress: the release was undone, or another one holds the service.
        Conflict: the service changed in the meantime.
    """
    _check(candidate, report)
    check_steps(steps)
    state = _state(candidate, target, deadline)
    assert state.rollout is not None
    rollout, seen = state.rollout, []
    # The steps that an interrupted call took are not taken back; the one that it stopped in is watched again.
    reached = _share(state, candidate) if rollout.phase is not Phase.CANDIDATE else 0
    for percent in steps if rollout.phase is not Phase.PROMOTED else ():
        wanted = split_at(rollout.before, candidate.revision, percent)
        if percent < reached or (wanted[0].percent == 100 and percent < 100):
            continue
        rollout = replace(rollout, after=wanted, reason=f"{percent} % to the candidate")
        if rollout.phase is Phase.CANDIDATE or not _is_split(state, wanted):
            rollout = rollout.now(Phase.SHIFTING, lease_seconds=LEASE_SECONDS + hold_seconds)
            # Whoever watches asks it alone, too.
            tagged = (replace(wanted[0], tag=CANDIDATE_TAG if watch else ""), *wanted[1:])
            state = target.shift(state, tagged, rollout, deadline=deadline)
        _check_split(state, wanted, candidate.target)
        if watch:
            seen.append(watch(percent))
            if not seen[-1].passed:
                return _undone(candidate, state, seen, target=target, deadline=deadline)
    final = (TrafficTarget(candidate.revision, 100),)
    _check_split(state, final, candidate.target)
    if rollout.phase is not Phase.PROMOTED:
        state = target.shift(state, final, rollout.now(Phase.PROMOTED), deadline=deadline)
    reason = f"{len(report.answers)} of {len(report.answers)} smoke answers were right"
    return _outcome(candidate, state, seen, before=rollout.before, reason=reason, passed=True)


def check_steps(steps: Sequence[int]) -> None:
    """See that steps are percentages that rise to 100.

    Raises:
        InvalidInput: they are not.
    """
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1 or steps[-1] != 100:
        raise InvalidInput(f"expected steps that rise to 100, such as 5,25,100; received {','.join(map(str, steps))}")


def parse_steps(text: str) -> tuple[int, ...]:
    """Steps such as ``5,25,100``.

    Raises:
        InvalidInput: they are none.
    """
    try:
        steps = tuple(int(part.strip().removesuffix("%")) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"expected steps that rise to 100, such as 5,25,100; received {text!r}") from None
    check_steps(steps)
    return steps


def split_at(before: tuple[TrafficTarget, ...], revision: str, percent: int) -> tuple[TrafficTarget, ...]:
    """A split in which a revision has ``percent``, and what served before shares the rest as it did.

    The revision comes first; shares are whole, and sum to 100.
    """
    others = [line for line in before if line.revision != revision and line.percent]
    if percent == 100 or not others:
        return (TrafficTarget(revision, 100),)
    rest, total = 100 - percent, sum(line.percent for line in others)
    shares = [rest * line.percent // total for line in others]
    # What the rounding left goes to the largest.
    shares[max(range(len(shares)), key=shares.__getitem__)] += rest - sum(shares)
    lines = (TrafficTarget(line.revision, share) for line, share in zip(others, shares, strict=True) if share)
    return (TrafficTarget(revision, percent), *lines)


def _undone(
    candidate: Candidate, state: ServiceState, seen: list[StepReport], *, target: Target, deadline: Deadline
) -> Promotion:
    assert state.rollout is not None
    failed = next(check for check in seen[-1].checks if not check.passed)
    reason = f"at {seen[-1].percent} %: {failed.name}: expected {failed.expected}, received {failed.received}"
    after = undo(target, state, deadline=deadline, reason=reason)
    return _outcome(candidate, after, seen, before=state.rollout.before, reason=reason, passed=False)


def _outcome(
    candidate: Candidate,
    state: ServiceState | None,
    seen: list[StepReport],
    *,
    before: tuple[TrafficTarget, ...],
    reason: str,
    passed: bool,
) -> Promotion:
    """How a release ended; ``state`` is the service as it then is, None when it is gone."""
    return Promotion(
        service=candidate.service,
        target=candidate.target,
        release_id=candidate.release_id,
        revision=candidate.revision,
        url=state.url if state else "",
        before=before,
        after=state.serving() if state else (),
        reason=reason,
        passed=passed,
        steps=tuple(seen),
    )


def _share(state: ServiceState, candidate: Candidate) -> int:
    return next((line.percent for line in state.serving() if line.revision == candidate.revision), 0)


def _is_split(state: ServiceState, wanted: tuple[TrafficTarget, ...]) -> bool:
    return sorted(state.serving(), key=str) == sorted(wanted, key=str)


def _check_split(state: ServiceState, wanted: tuple[TrafficTarget, ...], target: str) -> None:
    if not _is_split(state, wanted):
        raise LadingError(
            f"{target} reports the split {_words(state.serving())} after {_words(wanted)} was written: "
            "look at the service, then run again"
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
