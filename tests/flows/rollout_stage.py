"""A local target, and rollouts on it, with users if need be."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from tiny_server import make_image

from lading.flows.rollout import Plan, roll_out
from lading.judging import Limits
from lading.local.lifecycle import start, stop
from lading.observe import Questions
from lading.oci.layout import ImageStore
from lading.releases import RolloutReport
from lading.targets.base import Phase, Target
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.values import GoldenRequest
from lading.wait import Deadline

GOLDEN = GoldenRequest("serving_default", {"x": [[1.0]]}, {"y": [[1.5]]}, 1e-4, 1e-5)
RIGHT, WRONG = 1.5, 2.5


class Stage:
    """A local target, and rollouts on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {**os.environ, "XDG_STATE_HOME": str(root)}
        self.state = root / "lading" / "local"
        start(self.state, deadline=Deadline.after(60))
        self.target: Target = connect("local:", environ=self.environ)
        self.said: list[str] = []
        self.images = 0
        self.service = ""

    def plan(self, answer: object = RIGHT, *, label: str = "", **more: Any) -> Plan:
        self.images += 1
        scratch = self.root / f"image-{self.images}"
        image, diff_id = make_image(ImageStore(self.state / "images"), scratch, answer=answer, label=label)
        env = {name: str(value) for name, value in more.pop("env", {}).items()}
        settings = Settings(env=env, **more.pop("settings", {}))
        given: dict[str, Any] = {"limits": Limits(probes=100), "release_id": f"r{self.images}", **more}
        return Plan(
            image=image,
            model_diff_id=diff_id,
            service=self.service,
            target_name="local:",
            questions=Questions((GOLDEN,)),
            settings=settings,
            **given,
        )

    def run(self, plan: Plan) -> RolloutReport:
        return roll_out(plan, target=self.target, deadline=Deadline.after(60), say=self.said.append)

    def phase(self) -> Phase:
        """Of the last release."""
        state = self.target.get(self.service, deadline=Deadline.after(20))
        assert state is not None
        assert state.rollout is not None
        return state.rollout.phase

    def split(self) -> dict[str, int]:
        state = self.target.get(self.service, deadline=Deadline.after(20))
        return {line.revision: line.percent for line in state.serving()} if state else {}


@contextmanager
def stages(root: Path) -> Iterator[Stage]:
    """A place for many tests."""
    made = Stage(root)
    try:
        yield made
    finally:
        stop(made.state, deadline=Deadline.after(60))


@contextmanager
def service_on(place: Stage) -> Iterator[Stage]:
    """The place with a service of a test's own."""
    place.service = f"service-{place.images}"
    place.said.clear()
    yield place
    place.target.delete(place.service, deadline=Deadline.after(60))


def command(stage: Stage, plan: Plan, golden: Path, *words: str) -> "subprocess.Popen[str]":
    """``lading rollout`` of a plan's image, as users call it."""
    given = [plan.image, "--service", plan.service, "--golden", str(golden), "--probes", "40", *words]
    return subprocess.Popen(
        [sys.executable, "-m", "lading", "rollout", *given],
        env=stage.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def users(url: str, *, at_once: int = 3) -> Iterator[list[int]]:
    """People who ask a service all the time, in a form that no golden request has; the statuses that they got."""
    statuses: list[int] = []
    ended = threading.Event()

    def use() -> None:
        with requests.Session() as session:
            while not ended.is_set():
                body = {"instances": [[1.0]]}
                statuses.append(session.post(f"{url}/v1/models/tiny:predict", json=body, timeout=10).status_code)

    threads = [threading.Thread(target=use) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()
