"""The components deploy, smoke and promote with a user's own requests and with steps."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rollout_stage import GOLDEN, Stage, service_on, stages

from components.deploy import deploy
from components.promote import promote
from components.smoke import smoke
from lading.errors import InvalidInput, NotFound
from lading.releases import Promotion, SmokeReport
from lading.values import from_json


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stages(tmp_path_factory.mktemp("place")) as made:
        yield made


class Steps:
    """The steps of a pipeline: their artifacts are files of one directory."""

    def __init__(self, stage: Stage, root: Path) -> None:
        self.stage, self.root, self.number = stage, root, 0
        (root / "golden").write_text(GOLDEN.to_line())

    def artifact(self, name: str) -> Any:
        return SimpleNamespace(path=str(self.root / name))

    def deploy(self, *, steps: str = "100", **env: object) -> None:
        self.number += 1
        plan = self.stage.plan(label=f"of components {self.number}", env=env)
        deploy.python_func(
            candidate=self.artifact("candidate"),
            image=plan.image,
            model_diff_id=plan.model_diff_id,
            service=plan.service,
            release_id=plan.release_id,
            settings=json.dumps({"env": dict(plan.settings.env)}),
            steps=steps,
        )

    def smoke(self, instances: str = "") -> SmokeReport:
        places = {name: self.artifact(name) for name in ("candidate", "golden", "report")}
        (passed,) = smoke.python_func(**places, instances=instances)
        found = from_json((self.root / "report").read_text(), SmokeReport)
        assert found.passed == passed
        return found

    def promote(self, instances: str = "", **more: object) -> Promotion:
        places = {name: self.artifact(name) for name in ("candidate", "report", "promotion")}
        _, passed = promote.python_func(**places, instances=instances, **more)
        found = from_json((self.root / "promotion").read_text(), Promotion)
        assert found.passed == passed
        return found


@pytest.fixture
def steps(place: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    monkeypatch.setenv("XDG_STATE_HOME", place.environ["XDG_STATE_HOME"])
    with service_on(place) as stage:
        yield Steps(stage, tmp_path)


@pytest.fixture
def instances(tmp_path: Path) -> str:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps([{"instances": [[1.0]]}, {"instances": [[2.0], [3.0]]}]))
    return str(path)


def test_own_requests_are_asked_by_smoke_and_in_each_step(steps: Steps, instances: str) -> None:
    steps.deploy()
    report = steps.smoke(instances)
    assert [(c.name, c.received) for c in report.checks][1] == ("instances", "2 of 2 right")
    assert len(report.answers) == 1  # the golden one
    done = steps.promote(instances)
    assert done.passed
    assert [step.percent for step in done.steps] == [100]  # with own requests it is watched


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"ERROR_EVERY": 1}, r"POST .*: 500 out of order"),
        ({"WRONG_ANSWER": "nan"}, "an answer to the given instances is not finite"),
    ],
)
def test_a_candidate_that_cannot_answer_them_does_not_pass_the_smoke_test(
    steps: Steps, instances: str, fault: dict[str, object], problem: str
) -> None:
    steps.deploy(FAULTS_FOR="instances", **fault)
    assert steps.smoke().passed
    report = steps.smoke(instances)
    assert not report.passed
    (failed,) = [check for check in report.checks if check.name == "instances"]
    assert re.fullmatch(f"0 of 2 right; first: {problem}", failed.received), failed.received


def test_a_candidate_that_fails_them_later_is_taken_back_by_promote(steps: Steps, instances: str) -> None:
    steps.deploy()
    steps.smoke()
    before = steps.promote().after
    steps.deploy(FAULTS_FOR="instances", FAULTS_AFTER=20, ERROR_EVERY=1)
    assert steps.smoke(instances).passed
    done = steps.promote(instances, steps="10,100")
    assert not done.passed
    assert done.after == before
    assert "at 10 %: errors" in done.reason


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '{"rows": []}'])
def test_what_holds_no_requests_is_refused(steps: Steps, tmp_path: Path, text: str) -> None:
    steps.deploy()
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InvalidInput, match="instances: expected"):
        steps.smoke(str(tmp_path / "other.json"))
    with pytest.raises(NotFound):
        steps.smoke(str(tmp_path / "nothing.json"))


def test_steps_that_are_none_are_refused_before_anything_is_deployed(steps: Steps) -> None:
    with pytest.raises(InvalidInput, match="expected steps that rise to 100"):
        steps.deploy(steps="5,25")
    assert steps.stage.split() == {}
