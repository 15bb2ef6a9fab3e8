"""A rollout in one call, on the local target: whatever goes wrong, what served before serves again."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_stage import GOLDEN, WRONG, Stage, command, service_on, stages, users

from lading.errors import InvalidInput, NotFound, RevisionFailed, RolloutInProgress
from lading.judging import Limits
from lading.observe import Questions
from lading.promote import check_steps, split_at
from lading.releases import RolloutReport, TrafficTarget
from lading.rollback import rollback_service
from lading.settle import settle_release
from lading.targets.base import Phase
from lading.wait import Deadline, poll


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stages(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
def stage(place: Stage) -> Iterator[Stage]:
    with service_on(place) as made:
        yield made


def test_traffic_moves_in_steps_and_each_is_remembered(stage: Stage) -> None:
    first = stage.run(stage.plan())
    assert first.passed
    assert [step.percent for step in first.promotion.steps] == [100]  # type: ignore[union-attr]  # nothing served before
    second = stage.run(stage.plan(label="second", steps=(10, 50, 100)))
    assert second.passed, second.checks
    assert second.promotion is not None
    assert [step.percent for step in second.promotion.steps] == [10, 50, 100]
    others = second.promotion.steps[1].others
    assert others is not None
    assert (others.errors, others.requests > 5) == (0, True)
    assert stage.split() == {second.candidate.revision: 100}
    state = stage.target.get(stage.service, deadline=Deadline.after(20))
    assert state is not None
    old, new = first.candidate.revision, second.candidate.revision
    remembered = [[(line.revision, line.percent) for line in change.traffic] for change in state.history]
    assert remembered.pop(0) == [(old, 100)]
    assert remembered == [[(new, 10), (old, 90)], [(new, 50), (old, 50)], [(new, 100)]]
    assert state.history[1].reason == "10 % to the candidate"
    assert stage.said[-1] == f"{new} serves at {second.promotion.url}"


def test_any_remembered_split_can_be_restored(stage: Stage) -> None:
    reports = [stage.run(stage.plan(label=f"of many {number}")) for number in range(3)]
    first, second, third = (report.candidate for report in reports)

    def back(**to: str) -> dict[str, int]:
        deadline = Deadline.after(30)
        rollback_service(stage.service, target=stage.target, target_name="local:", deadline=deadline, **to)
        return stage.split()

    assert back() == {second.revision: 100}
    assert back(release=third.release_id) == {third.revision: 100}
    assert back(release=first.release_id) == {first.revision: 100}
    known = f"{third.release_id}, {second.release_id}, {first.release_id}"
    with pytest.raises(NotFound, match=f"no release nope is remembered .* {known}"):
        back(release="nope")
    with pytest.raises(InvalidInput, match="received both"):
        back(release=third.release_id, revision=first.revision)
    words = [sys.executable, "-m", "lading", "rollback", "--service", stage.service, "--history"]
    done = subprocess.run(words, env=stage.environ, capture_output=True, text=True, check=True)
    assert "rolled back on request" in done.stdout
    assert f"{third.revision} 100 %" in done.stdout


def test_a_candidate_that_answers_wrongly_gets_no_traffic(stage: Stage) -> None:
    first = stage.run(stage.plan())
    report = stage.run(stage.plan(WRONG))
    assert not report.passed
    assert report.promotion is None
    assert any("expected 1.5" in check.received for check in report.checks if not check.passed)
    assert stage.split() == {first.candidate.revision: 100}
    third = stage.run(stage.plan(label="third"))
    assert third.passed


@pytest.mark.parametrize(
    ("faults", "check", "received"),
    [
        ({"WRONG_ANSWER": WRONG}, "10 %: answers", r"expected 1.5"),
        ({"WRONG_ANSWER": "nan"}, "10 %: answers", r"received nan"),
        ({"ERROR_EVERY": 20}, "10 %: errors", r"500 out of order"),
        ({"SLOW_SECONDS": 0.05}, "10 %: latency", r"median \d+\.\d ms, beside"),
        ({"EXITS": 1}, "10 %: errors", r"first: .*no connection \(\[Errno 104\]"),
    ],
    ids=["wrong answers", "NaN", "some errors", "slow", "crash loop"],
)
def test_a_candidate_that_turns_bad_under_traffic_is_taken_back(
    stage: Stage, faults: dict[str, object], check: str, received: str
) -> None:
    first = stage.run(stage.plan())
    report = stage.run(stage.plan(label="bad", steps=(10, 100), env={"FAULTS_AFTER": 5, **faults}))
    assert not report.passed
    failed = next(found for found in report.checks if not found.passed)
    assert failed.name == check
    assert re.search(received, failed.received), failed.received
    assert stage.split() == {first.candidate.revision: 100}
    state = stage.target.get(stage.service, deadline=Deadline.after(20))
    assert state is not None
    assert state.rollout is not None
    assert state.rollout.phase is Phase.UNDONE
    assert state.history[-1].reason.startswith("at 10 %: ")


def test_errors_in_one_percent_of_the_answers_are_found(stage: Stage) -> None:
    first = stage.run(stage.plan())
    plan = stage.plan(label="bad", steps=(5, 100), env={"FAULTS_AFTER": 1, "ERROR_EVERY": 100}, limits=Limits())
    assert not stage.run(plan).passed
    assert stage.split() == {first.candidate.revision: 100}


def test_a_candidate_that_does_not_start_changes_nothing(stage: Stage) -> None:
    first = stage.run(stage.plan())
    with pytest.raises(RevisionFailed, match="the model is out of order"):
        stage.run(stage.plan("exit"))
    assert stage.split() == {first.candidate.revision: 100}


def test_a_candidate_that_is_never_ready_changes_nothing(stage: Stage) -> None:
    first = stage.run(stage.plan())
    with pytest.raises(RevisionFailed, match="it was not ready after 1 s"):
        stage.run(stage.plan(label="unready", env={"NOT_READY": 1}, settings={"startup_seconds": 1}))
    assert stage.split() == {first.candidate.revision: 100}
    assert stage.phase() is Phase.PROMOTED


def test_a_candidate_that_dies_of_its_first_question_gets_no_traffic(stage: Stage) -> None:
    first = stage.run(stage.plan())
    report = stage.run(stage.plan(label="dies", env={"EXITS": 1}))
    assert not report.passed
    assert report.promotion is None
    assert stage.split() == {first.candidate.revision: 100}


def test_a_first_release_that_is_not_good_enough_leaves_no_service(stage: Stage) -> None:
    assert not stage.run(stage.plan(WRONG)).passed
    assert stage.target.get(stage.service, deadline=Deadline.after(20)) is None


def test_your_own_requests_are_asked_too(stage: Stage) -> None:
    plan = stage.plan()
    asked = replace(plan, questions=Questions((GOLDEN,), ({"instances": [[1.0]]},)))
    assert stage.run(asked).passed


def test_a_second_rollout_is_refused_or_waits(stage: Stage) -> None:
    stage.run(stage.plan())
    slow = stage.plan(label="slow", steps=(50, 100), hold_seconds=1.0)
    reports: list[RolloutReport] = []
    begun = threading.Thread(target=lambda: reports.append(stage.run(slow)))
    begun.start()
    try:
        poll(lambda: True if len(stage.split()) == 2 else None, deadline=Deadline.after(20), what="the first step")
        with pytest.raises(RolloutInProgress, match=f"is being released by {slow.release_id}"):
            stage.run(stage.plan(label="third"))
        waited = stage.run(stage.plan(label="fourth", wait=True))
    finally:
        begun.join()
    assert reports[0].passed
    assert waited.passed
    assert stage.split() == {waited.candidate.revision: 100}


@pytest.mark.parametrize("steps", [(), (50,), (100, 50), (0, 100), (50, 50, 100)])
def test_steps_that_do_not_rise_to_100_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="expected steps that rise to 100"):
        check_steps(steps)


def test_what_the_target_cannot_do_is_told_before_anything_is_begun(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match="local: cannot make a service public"):
        stage.run(stage.plan(public=True))
    assert stage.split() == {}


def test_shares_are_whole_and_sum_to_100() -> None:
    before = (TrafficTarget("a", 50), TrafficTarget("b", 30), TrafficTarget("c", 20), TrafficTarget("d", 0, "old"))
    lines = [(line.revision, line.percent) for line in split_at(before, "new", 33)]
    assert lines == [("new", 33), ("a", 34), ("b", 20), ("c", 13)]
    assert split_at(before, "new", 100) == (TrafficTarget("new", 100),)
    assert split_at((TrafficTarget("new", 100),), "new", 5) == (TrafficTarget("new", 100),)


def test_the_command(stage: Stage, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text(GOLDEN.to_line())
    out, err = (running := command(stage, stage.plan(), golden, "--json")).communicate(timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out)["passed"]
    out, err = (running := command(stage, stage.plan(WRONG), golden)).communicate(timeout=60)
    assert running.returncode == 1, err
    assert "FAILED" in out
    assert "it did not answer as it should: restored the traffic" in err


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_rollout_that_is_stopped_restores_what_served(stage: Stage, tmp_path: Path, number: signal.Signals) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text(GOLDEN.to_line())
    first = stage.run(stage.plan())
    running = command(stage, stage.plan(label="next"), golden, "--steps", "50,100", "--hold", "60s")
    poll(lambda: True if len(stage.split()) == 2 else None, deadline=Deadline.after(30), what="the first step")
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + number, err
    assert "stopped: restored the traffic from before the release" in err
    assert stage.split() == {first.candidate.revision: 100}


def test_a_rollout_that_is_killed_is_undone_by_settle(stage: Stage, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text(GOLDEN.to_line())
    first = stage.run(stage.plan())
    running = command(stage, stage.plan(label="next"), golden, "--steps", "50,100", "--hold", "60s")
    poll(lambda: True if len(stage.split()) == 2 else None, deadline=Deadline.after(30), what="the first step")
    running.kill()
    running.communicate(timeout=60)
    with pytest.raises(RolloutInProgress):
        stage.run(stage.plan(label="third"))
    done = settle_release(stage.service, target=stage.target, release_id="", deadline=Deadline.after(20))
    assert done == "restored the traffic from before the release"
    assert stage.split() == {first.candidate.revision: 100}


@pytest.mark.parametrize(
    ("faults", "check", "received"),
    [
        ({"ERROR_EVERY": 20}, "30 %: users' errors", r"\d+ of \d+, beside 0 of \d+ before"),
        ({"ERROR_EVERY": 1, "ERROR_STATUS": 400}, "30 %: users' refusals", r"\d+ of \d+, beside 0 of \d+ before"),
        ({"SLOW_SECONDS": 0.1}, "30 %: users' latency", r"median \d+\.\d ms, beside"),
    ],
    ids=["errors", "other inputs", "slow"],
)
def test_a_candidate_that_only_its_users_find_bad_is_taken_back(
    stage: Stage, faults: dict[str, object], check: str, received: str
) -> None:
    first = stage.run(stage.plan())
    with users(first.candidate.service_url):
        plan = stage.plan(label="bad", steps=(30, 100), hold_seconds=30.0, env={"FAULTS_FOR": "instances", **faults})
        report = stage.run(plan)
    assert not report.passed
    (failed,) = [found for found in report.checks if not found.passed]
    assert failed.name == check
    assert re.fullmatch(received + ".*", failed.received), failed.received
    assert stage.split() == {first.candidate.revision: 100}
    (step,) = report.promotion.steps  # type: ignore[union-attr]
    assert step.seconds < 25  # it ended early
    assert (step.candidate.errors, step.candidate.wrong) == (0, 0)


def test_users_are_judged_where_they_are_enough_and_probes_are_none(stage: Stage) -> None:
    first = stage.run(stage.plan())
    alone = stage.run(stage.plan(label="alone", steps=(50, 100)))
    assert alone.passed
    assert [step.users.requests for step in alone.promotion.steps] == [0, 0]  # type: ignore[union-attr]
    assert not any("users" in found.name for found in alone.checks)
    assert "  its users: 0 requests, 0 errors, median 0.0 ms (too few to judge by)" in stage.said
    with users(first.candidate.service_url):
        watched = stage.run(stage.plan(label="watched", steps=(50, 100), hold_seconds=2.0))
    assert watched.passed, watched.checks
    names = [found.name for found in watched.checks if "users" in found.name]
    beside = [f"50 %: users' {what}" for what in ("errors", "refusals", "latency")]
    # With all of the traffic the users of before are those of the steps before, whose latency is another time's.
    assert names == [*beside, "100 %: users' errors", "100 %: users' refusals"]


def test_users_notice_nothing_of_a_rollout(stage: Stage) -> None:
    first = stage.run(stage.plan())
    with users(first.candidate.service_url, at_once=1) as statuses:
        for number in range(2):
            assert stage.run(stage.plan(label=f"good {number}", steps=(30, 100), limits=Limits(probes=30))).passed
            assert not stage.run(stage.plan(WRONG, label=f"bad {number}")).passed
    assert len(statuses) > 100
    assert set(statuses) == {200}
