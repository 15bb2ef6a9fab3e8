"""The verbs of a release on a local target, with their standing arguments filled in."""

from pathlib import Path
from typing import Any

import requests
from tiny_server import make_image

from lading.deploy import deploy_candidate
from lading.local.lifecycle import start
from lading.oci.layout import ImageStore
from lading.promote import promote_candidate
from lading.releases import Candidate, SmokeReport
from lading.smoke import smoke_test
from lading.targets.base import Target, candidate_door
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.values import GoldenRequest
from lading.wait import Deadline

GOLDEN = (GoldenRequest("serving_default", {"x": [[1.0]]}, {"y": [[1.5]]}, 1e-4, 1e-5),)
RIGHT = 1.5
WRONG = 2.5


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
