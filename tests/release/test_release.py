"""deploy, smoke and promote: on a real local target, with real processes behind it."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from release_world import GOLDEN, RIGHT, WRONG, World

from lading.errors import InvalidInput, InvalidReference, NotFound, RevisionFailed, ServiceUnreachable
from lading.local.lifecycle import status, stop
from lading.promote import promote_candidate
from lading.rollback import rollback_service
from lading.smoke import smoke_test
from lading.targets.base import candidate_door
from lading.targets.connect import connect
from lading.wait import Deadline, poll


def test_a_first_release_and_the_next_one(world: World) -> None:
    first = world.deploy(world.image(RIGHT))
    assert first.first_release
    report = world.smoke(first)
    assert report.passed, report.checks
    done = promote_candidate(first, report, target=world.target, deadline=world.deadline)
    assert [(line.revision, line.percent) for line in done.after] == [(first.revision, 100)]
    second = world.deploy(world.image(RIGHT, "other"), "r2")
    assert not second.first_release
    assert world.traffic() == {first.revision: 100}
    assert world.answers_of(first) == {first.revision}
    assert requests.get(second.url, timeout=10).headers["x-lading-revision"] == second.revision
    promote_candidate(second, world.smoke(second), target=world.target, deadline=world.deadline)
    assert world.traffic() == {second.revision: 100}
    assert world.answers_of(first) == {second.revision}


def test_a_repeated_step_changes_nothing(world: World) -> None:
    image = world.image(RIGHT)
    candidate = world.deploy(image)
    assert world.deploy(image) == candidate
    report = world.smoke(candidate)
    once = promote_candidate(candidate, report, target=world.target, deadline=world.deadline)
    assert promote_candidate(candidate, report, target=world.target, deadline=world.deadline) == once
    again = world.release(image, "r2")
    assert again.revision == candidate.revision
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert state.revisions == (candidate.revision,)


def test_other_settings_are_another_revision(world: World) -> None:
    image = world.image(RIGHT)
    first = world.release(image, "r1")
    assert world.deploy(image, "r2", env={"LOG": "1"}).revision != first.revision


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (WRONG, r"y\[0\]\[0\]: expected 1.5 .* got 2.5"),
        (2, "expected a float, received an integer"),
        ([1.5], "expected a float, received a list"),
        (float("nan"), "expected 1.5, received nan"),
        ("error", "500 out of order"),
    ],
)
def test_a_wrong_answer_is_a_negative_verdict_that_says_what_came(world: World, answer: object, received: str) -> None:
    candidate = world.deploy(world.image(answer))
    report = world.smoke(candidate)
    assert not report.passed
    (check,) = [check for check in report.checks if check.name == "answers"]
    assert re.search(received, check.received), check.received
    with pytest.raises(InvalidInput, match="only one that passed can be promoted"):
        promote_candidate(candidate, report, target=world.target, deadline=world.deadline)


def test_smoke_notices_that_another_model_answers(world: World) -> None:
    candidate = world.deploy(world.image(RIGHT))
    report = world.smoke(replace(candidate, model_diff_id="sha256:" + "0" * 64, revision="tiny-other"))
    assert {check.name for check in report.checks if not check.passed} == {"revision", "model"}


def test_smoke_needs_something_that_answers(world: World) -> None:
    candidate = world.deploy(world.image(RIGHT))
    stop(world.state, deadline=world.deadline)
    with pytest.raises(ServiceUnreachable):
        smoke_test(candidate, GOLDEN, door=candidate_door(world.target, candidate), deadline=Deadline.after(2))


@pytest.mark.parametrize("first", [True, False], ids=["first release", "second release"])
def test_a_revision_that_will_not_start_says_why_and_changes_nothing(world: World, first: bool) -> None:
    serving = None if first else world.release(world.image(RIGHT), "r0")
    with pytest.raises(RevisionFailed, match="the model is out of order"):
        world.deploy(world.image("exit"))
    state = world.target.get("tiny", deadline=world.deadline)
    if serving is None:
        assert state is None
    else:
        assert world.traffic() == {serving.revision: 100}
        assert world.answers_of(serving) == {serving.revision}
        assert world.release(world.image(RIGHT, "next"), "r2").revision in world.traffic()


def test_a_service_that_crashes_again_and_again_can_be_mended_by_a_release(world: World) -> None:
    flag = world.root / "out-of-order"
    first = world.deploy(world.image(RIGHT), "r1", env={"EXIT_IF": str(flag)})
    promote_candidate(first, world.smoke(first), target=world.target, deadline=world.deadline)
    flag.touch()
    (record,) = (world.state / "processes").iterdir()
    os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)

    def crashing() -> bool | None:
        (service,) = status(world.state, deadline=world.deadline)
        return True if "out of order" in service["message"] and not service["ready"] else None

    poll(crashing, deadline=world.deadline, what="the service to say that it crashes")
    second = world.release(world.image(RIGHT, "mended"), "r2")
    assert world.traffic() == {second.revision: 100}
    assert world.answers_of(second) == {second.revision}


def test_names_that_mean_nothing_are_refused(world: World) -> None:
    with pytest.raises(InvalidReference, match=r"expected a target \(local:, cloudrun:.*, received .moon:"):
        connect("moon:", environ=world.environ)
    with pytest.raises(InvalidReference, match="expected an image by digest"):
        world.deploy(("lading.local/tiny:latest", ""))
    with pytest.raises(NotFound, match="no service nobody"):
        rollback_service("nobody", target=world.target, target_name="local:", deadline=world.deadline)


def test_without_a_local_target_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnreachable, match="`lading local start`"):
        connect("local:", environ={"XDG_STATE_HOME": str(tmp_path)})
