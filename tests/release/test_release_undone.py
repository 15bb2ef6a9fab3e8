"""settle, rollback, and releases that were cut off: on a real local target, with real processes."""

import time
from dataclasses import replace

import pytest
from release_world import RIGHT, WRONG, World

from lading.errors import Conflict, InvalidInput, NotFound, RolloutInProgress
from lading.promote import promote_candidate
from lading.rollback import rollback_service
from lading.settle import settle_release
from lading.targets.base import Phase, Rollout


def test_an_undone_first_release_leaves_no_service(world: World) -> None:
    world.deploy(world.image(WRONG))
    done = settle_release("tiny", target=world.target, release_id="r1", deadline=world.deadline)
    assert done == "deleted service tiny, which this release had created"
    assert world.target.get("tiny", deadline=world.deadline) is None
    assert settle_release("tiny", target=world.target, release_id="r1", deadline=world.deadline) == "nothing to undo"


def test_an_undone_release_restores_what_served(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    second = world.deploy(world.image(RIGHT, "second"), "r2")
    report = world.smoke(second)
    settle_release("tiny", target=world.target, release_id="r2", deadline=world.deadline)
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert [(line.revision, line.percent, line.tag) for line in state.traffic] == [(first.revision, 100, "")]
    assert state.rollout is not None
    assert state.rollout.phase is Phase.UNDONE
    with pytest.raises(RolloutInProgress, match="r2 no longer holds service tiny"):
        promote_candidate(second, report, target=world.target, deadline=world.deadline)


def test_a_promoted_release_is_not_undone(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    assert settle_release("tiny", target=world.target, release_id="r1", deadline=world.deadline) == "nothing to undo"
    assert world.traffic() == {first.revision: 100}


def test_two_releases_at_a_time_are_refused_and_an_abandoned_one_is_undone(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    world.deploy(world.image(WRONG), "r2")
    with pytest.raises(RolloutInProgress, match="is being released by r2"):
        world.deploy(world.image(RIGHT, "third"), "r3")
    expire(world)
    third = world.deploy(world.image(RIGHT, "third"), "r3")
    assert world.traffic() == {first.revision: 100}
    promote_candidate(third, world.smoke(third), target=world.target, deadline=world.deadline)
    assert world.traffic() == {third.revision: 100}


def test_promote_resumes_after_it_was_cut_off_in_the_middle(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    second = world.deploy(world.image(RIGHT, "second"), "r2")
    report = world.smoke(second)
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert state.rollout is not None
    # What a promote leaves behind that was killed after its first write.
    wanted = (replace(state.serving()[0], revision=second.revision),)
    cut = replace(state.rollout, after=wanted).now(Phase.SHIFTING, lease_seconds=60)
    world.target.shift(state, wanted, cut, deadline=world.deadline)
    done = promote_candidate(second, report, target=world.target, deadline=world.deadline)
    assert [line.revision for line in done.before] == [first.revision]
    after = world.target.get("tiny", deadline=world.deadline)
    assert after is not None
    assert after.rollout is not None
    assert after.rollout.phase is Phase.PROMOTED


def test_a_cut_off_promotion_that_nobody_resumes_is_undone_by_who_comes_next(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    second = world.deploy(world.image(RIGHT, "second"), "r2")
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert state.rollout is not None
    wanted = (replace(state.serving()[0], revision=second.revision),)
    world.target.shift(
        state,
        wanted,
        replace(state.rollout, after=wanted).now(Phase.SHIFTING, lease_seconds=-1),
        deadline=world.deadline,
    )
    assert world.traffic() == {second.revision: 100}
    world.deploy(world.image(RIGHT, "third"), "r3")
    assert world.traffic() == {first.revision: 100}


def test_rollback_goes_back_and_forth(world: World) -> None:
    first = world.release(world.image(RIGHT), "r1")
    with pytest.raises(InvalidInput, match="nothing to go back to"):
        rollback_service("tiny", target=world.target, target_name="local:", deadline=world.deadline)
    second = world.release(world.image(RIGHT, "second"), "r2")
    done = rollback_service("tiny", target=world.target, target_name="local:", deadline=world.deadline)
    assert world.traffic() == {first.revision: 100}
    assert world.answers_of(first) == {first.revision}
    assert [line.revision for line in done.before] == [second.revision]
    rollback_service(
        "tiny", target=world.target, target_name="local:", revision=second.revision, deadline=world.deadline
    )
    assert world.traffic() == {second.revision: 100}
    with pytest.raises(NotFound, match="no revision tiny-nope of tiny"):
        rollback_service(
            "tiny", target=world.target, target_name="local:", revision="tiny-nope", deadline=world.deadline
        )


def test_a_write_on_an_outdated_state_is_a_conflict(world: World) -> None:
    world.release(world.image(RIGHT), "r1")
    old = world.target.get("tiny", deadline=world.deadline)
    assert old is not None
    world.release(world.image(RIGHT, "second"), "r2")
    with pytest.raises(Conflict):
        world.target.shift(old, old.serving(), old.rollout, deadline=world.deadline)


def expire(world: World) -> None:
    """Let the lease of the open release run out."""
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert isinstance(state.rollout, Rollout)
    tags = tuple(line for line in state.traffic)
    world.target.shift(state, tags, replace(state.rollout, expires=time.time() - 1), deadline=world.deadline)
