"""A target that runs, and the steps of releases on it: what the contract and the tests of each target share."""

import time
import uuid
from dataclasses import replace
from typing import Any, Protocol

from lading.deploy import deploy_candidate
from lading.flows.rollout import Plan, Say, roll_out
from lading.judging import Limits
from lading.observe import Questions
from lading.promote import promote_candidate
from lading.releases import Candidate, Promotion, RolloutReport, SmokeReport, TrafficTarget
from lading.rollback import rollback_service
from lading.settle import settle_release
from lading.smoke import smoke_test
from lading.targets.base import ServiceState, Target, candidate_door
from lading.targets.settings import Settings
from lading.values import GoldenRequest
from lading.wait import Deadline

GOLDEN = (GoldenRequest("serving_default", {"x": [[1.0]]}, {"y": [[1.5]]}, 1e-4, 1e-5),)
RIGHT, WRONG = 1.5, 2.5
VALUES: dict[str, Any] = {
    "env": {"LOG": "1"},
    "secrets": {"TOKEN": "token:1"},
    "cpu": "2",
    "memory": "1Gi",
    "concurrency": 8,
    "min_instances": 1,
    "max_instances": 3,
    "cpu_boost": True,
    "execution_environment": "gen2",
    "machine_type": "n1-standard-4",
    "timeout_seconds": 120,
    "service_account": "runner@demo-project.iam.gserviceaccount.com",
    "ingress": "internal",
    "labels": {"team": "search"},
    "startup_seconds": 90,
}
"""A value for each setting that differs from its default."""


class Place(Protocol):
    """A target that runs, as a suite gives it."""

    target: Target
    target_name: str
    """As users write it: ``local:``."""

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        """An image as ``tiny_server.make_image`` makes them, where the target can run it: reference and diff-id.

        Its model answers ``answer``; ``"error"``: with status 500; ``"exit"``: it ends as it starts.
        """

    def stop(self) -> None:
        """End all that was started."""


class Releases:
    """The verbs on one service of a place, their standing arguments filled in."""

    def __init__(self, place: Place, *, seconds: float = 60.0) -> None:
        self.place, self.target, self.seconds = place, place.target, seconds
        self.service = f"tiny-{uuid.uuid4().hex[:8]}"

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(self.seconds)

    def image(self, answer: object = RIGHT, label: str = "") -> tuple[str, str]:
        return self.place.make_image(answer, label)

    def deploy(
        self, image: tuple[str, str], release: str = "r1", *, steps: tuple[int, ...] = (100,), **settings: Any
    ) -> Candidate:
        return deploy_candidate(
            image[0],
            self.service,
            target=self.target,
            target_name=self.place.target_name,
            release_id=release,
            model_diff_id=image[1],
            settings=Settings(**settings),
            steps=steps,
            deadline=self.deadline,
        )

    def smoke(self, candidate: Candidate) -> SmokeReport:
        return smoke_test(candidate, GOLDEN, door=candidate_door(self.target, candidate), deadline=self.deadline)

    def promote(self, candidate: Candidate) -> Promotion:
        report = self.smoke(candidate)
        assert report.passed, report.checks
        return promote_candidate(candidate, report, target=self.target, deadline=self.deadline)

    def release(self, image: tuple[str, str], release: str, **settings: Any) -> Candidate:
        candidate = self.deploy(image, release, **settings)
        self.promote(candidate)
        return candidate

    def roll_out(
        self,
        image: tuple[str, str],
        release: str,
        *,
        steps: tuple[int, ...] = (25, 100),
        public: bool = False,
        say: Say = lambda _: None,
        **settings: Any,
    ) -> RolloutReport:
        """All of them in one call."""
        plan = Plan(
            image=image[0],
            model_diff_id=image[1],
            service=self.service,
            target_name=self.place.target_name,
            release_id=release,
            questions=Questions(GOLDEN),
            settings=Settings(**settings),
            steps=steps,
            limits=Limits(probes=20),
            public=public,
        )
        return roll_out(plan, target=self.target, deadline=self.deadline, say=say)

    def rollback(self, revision: str = "") -> Promotion:
        return rollback_service(
            self.service,
            target=self.target,
            target_name=self.place.target_name,
            revision=revision,
            deadline=self.deadline,
        )

    def settle(self, release: str = "") -> str:
        return settle_release(self.service, target=self.target, release_id=release, deadline=self.deadline)

    @property
    def state(self) -> ServiceState:
        found = self.target.get(self.service, deadline=self.deadline)
        assert found is not None
        return found

    @property
    def traffic(self) -> dict[str, int]:
        return {line.revision: line.percent for line in self.state.serving()}

    def shift(self, *lines: TrafficTarget, **rollout: Any) -> ServiceState:
        """Write a split, and changes of the release that is on the target."""
        state = self.state
        assert state.rollout is not None
        return self.target.shift(state, lines, replace(state.rollout, **rollout), deadline=self.deadline)

    def expire(self) -> None:
        """Let the lease of the open release run out."""
        self.shift(*self.state.traffic, expires=time.time() - 1)

    def answering(self, candidate: Candidate, times: int = 5) -> set[str]:
        """The revisions that answer whoever asks the service."""
        door = self.target.door(self.service, None, url=candidate.service_url, model=candidate.model)
        body = {"signature_name": "serving_default", "inputs": {"x": [[1.0]]}}
        return {door.predict(body, deadline=self.deadline).headers["x-lading-revision"] for _ in range(times)}
