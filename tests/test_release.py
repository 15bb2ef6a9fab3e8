"""deploy, smoke, promote, rollback, settle: on a real local target, with real processes behind it."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from tiny_server import make_image

from lading.deploy import deploy_candidate
from lading.errors import (
    Conflict,
    InvalidInput,
    InvalidReference,
    NotFound,
    RevisionFailed,
    RolloutInProgress,
    ServiceUnreachable,
)
from lading.local.lifecycle import start, status, stop
from lading.oci.layout import ImageStore
from lading.promote import promote_candidate
from lading.releases import Candidate, SmokeReport
from lading.rollback import rollback_service
from lading.settle import settle_release
from lading.smoke import smoke_test
from lading.targets.base import Phase, Rollout, Target, candidate_door
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.values import GoldenRequest
from lading.wait import Deadline, poll

GOLDEN = (GoldenRequest("serving_default", {"x": [[1.0]]}, {"y": [[1.5]]}, 1e-4, 1e-5),)
RIGHT, WRONG = 1.5, 2.5


class World:
    """A local target of its own, and the verbs with their standing arguments filled in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"XDG_STATE_HOME": str(root)}
        self.state = root / "lading" / "local"
        self.images = 0
        start(self.state, deadline=self.deadline)
        self.target: Target = connect("local:", environ=self.environ)

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(60)

    def image(self, answer: object, label: str = "") -> tuple[str, str]:
        self.images += 1
        scratch = self.root / f"image-{self.images}"
        return make_image(ImageStore(self.state / "images"), scratch, answer=answer, label=label)

    def deploy(self, image: tuple[str, str], release: str = "r1", **settings: Any) -> Candidate:
        return deploy_candidate(
            image[0],
            "tiny",
            target=self.target,
            target_name="local:",
            release_id=release,
            model_diff_id=image[1],
            settings=Settings(**settings),
            deadline=self.deadline,
        )

    def smoke(self, candidate: Candidate) -> SmokeReport:
        return smoke_test(candidate, GOLDEN, door=candidate_door(self.target, candidate), deadline=self.deadline)

    def release(self, image: tuple[str, str], release: str) -> Candidate:
        candidate = self.deploy(image, release)
        promote_candidate(candidate, self.smoke(candidate), target=self.target, deadline=self.deadline)
        return candidate

    def traffic(self) -> dict[str, int]:
        state = self.target.get("tiny", deadline=self.deadline)
        return {line.revision: line.percent for line in state.serving()} if state else {}

    def answers_of(self, candidate: Candidate) -> set[str]:
        url = f"{candidate.service_url}/v1/models/tiny:predict"
        return {requests.post(url, json={}, timeout=10).headers["x-lading-revision"] for _ in range(5)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    stop(made.state, deadline=made.deadline)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected settings as a JSON object"),
        ("[]", "expected settings as a JSON object"),
        ('{"memroy": "1Gi", "env": {"A": 1}, "startup_seconds": 0}',
         "unknown setting 'memroy' .*; env: expected an object of strings.*; startup_seconds: expected a whole number"),
    ],
)  # fmt: skip
def test_settings_are_checked_all_at_once(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Settings.parse(text)


def test_settings_take_the_floats_that_kfp_makes_of_integers() -> None:
    settings = Settings.parse('{"startup_seconds": 90.0, "cpu": 2.0, "env": {"A": "b"}}')
    assert settings == Settings(env={"A": "b"}, cpu="2", startup_seconds=90)


def test_a_setting_that_the_target_does_not_have_is_refused(world: World) -> None:
    with pytest.raises(
        InvalidInput,
        match=r"local: has no cpu_boost, memory \(it has: concurrency, env, .*\)",
    ):
        world.deploy(world.image(RIGHT), memory="1Gi", cpu_boost=True)


def expire(world: World) -> None:
    """Let the lease of the open release run out."""
    state = world.target.get("tiny", deadline=world.deadline)
    assert state is not None
    assert isinstance(state.rollout, Rollout)
    tags = tuple(line for line in state.traffic)
    world.target.shift(state, tags, replace(state.rollout, expires=time.time() - 1), deadline=world.deadline)
