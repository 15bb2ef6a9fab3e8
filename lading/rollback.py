"""Go back to the split from before the last promotion."""

import uuid

from lading.errors import InvalidInput, NotFound, RolloutInProgress
from lading.releases import Promotion, TrafficTarget
from lading.targets.base import LEASE_SECONDS, Phase, Rollout, ServiceState, Target
from lading.wait import Deadline


def rollback_service(
    service: str, *, target: Target, target_name: str, deadline: Deadline, revision: str = "", release: str = ""
) -> Promotion:
    """Restore the split that served before, or send all traffic to a revision by name.

    Args:
        service: Name of the service.
        target: Where it lives.
        target_name: The target as the user wrote it, for the record.
        deadline: When to give up.
        revision: Where all traffic goes. Empty: the split from before the last promotion.
        release: Id of an earlier release: the last split that it led to is restored instead.

    Raises:
        NotFound: there is no such service, revision or release, or a revision of its split is gone.
        InvalidInput: there is nothing to go back to; revision and release are both given.
        RolloutInProgress: a release is open; `lading settle` undoes it.
    """
    state = target.get(service, deadline=deadline)
    if state is None:
        raise NotFound(f"no service {service} on {target_name}: `lading local status` lists what there is")
    if state.rollout is not None and state.rollout.open and not state.rollout.abandoned():
        raise RolloutInProgress(
            f"release {state.rollout.id} of service {service} is open: wait until it has ended, "
            f"or undo it with `lading settle --service {service}`"
        )
    goal = _goal(state, revision, release)
    rollout = Rollout(
        f"rollback-{uuid.uuid4().hex[:8]}", state.serving(), goal, Phase.SHIFTING, 0.0, reason="rolled back on request"
    )
    moved = target.shift(state, goal, rollout.now(Phase.SHIFTING, lease_seconds=LEASE_SECONDS), deadline=deadline)
    ended = target.shift(moved, goal, rollout.now(Phase.PROMOTED), deadline=deadline)
    return Promotion(
        service=service,
        target=target_name,
        release_id=rollout.id,
        revision=goal[0].revision,
        url=ended.url,
        before=state.serving(),
        after=ended.serving(),
        reason=rollout.reason,
    )


def _goal(state: ServiceState, revision: str, release: str) -> tuple[TrafficTarget, ...]:
    if revision and release:
        raise InvalidInput("expected a revision or a release to go back to, received both")
    if release:
        return _split_of(state, release)
    if revision:
        if revision not in state.revisions:
            raise NotFound(f"no revision {revision} of {state.name} (there are: {', '.join(state.revisions)})")
        return (TrafficTarget(revision, 100),)
    before = state.rollout.before if state.rollout else ()
    if not before:
        raise InvalidInput(f"service {state.name} has had no other split: there is nothing to go back to")
    return before


def _split_of(state: ServiceState, release: str) -> tuple[TrafficTarget, ...]:
    """The last split that a release led to."""
    found = next((change for change in reversed(state.history) if change.release_id == release), None)
    if found is None:
        known = ", ".join(dict.fromkeys(change.release_id for change in reversed(state.history))) or "none"
        raise NotFound(f"no release {release} is remembered with service {state.name} (there are: {known})")
    if gone := [line.revision for line in found.traffic if line.revision not in state.revisions]:
        raise NotFound(f"release {release} of service {state.name} led to {', '.join(gone)}, which is gone")
    return found.traffic
