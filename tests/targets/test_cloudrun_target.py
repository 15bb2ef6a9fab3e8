"""``cloudrun:`` keeps the contract of a target: google-auth against servers that refuse what Google's refuse."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from cloudrun_place import CloudRunPlace, releases
from contract import TargetContract
from places import RIGHT, VALUES, Releases

from lading.errors import RemoteError, RevisionFailed
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.base import Phase, Rollout
from lading.targets.knative.dialects import Knative
from lading.targets.knative.target import KnativeTarget
from lading.targets.settings import Settings
from lading.wait import Deadline


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRunPlace]:
    made = CloudRunPlace(tmp_path_factory.mktemp("cloud-run"))
    yield made
    made.stop()


class TestCloudRun(TargetContract):
    pass


@pytest.fixture
def at(place: CloudRunPlace) -> Iterator[Releases]:
    with releases(place) as made:
        yield made


def stored(place: CloudRunPlace, at: Releases, plural: str = "services", name: str = "") -> Any:
    """An object as Cloud Run shows it to everybody."""
    path = f"/apis/serving.knative.dev/v1/namespaces/demo-project/{plural}/{name or at.service}"
    headers = {"Authorization": f"Bearer {place.iam.access_token('person@example.com')}"}
    return Client(place.run.url, headers=headers).request("GET", path, deadline=at.deadline).json()


def own(annotations: dict[str, str]) -> dict[str, str]:
    return {n: v for n, v in annotations.items() if n.startswith(("run.googleapis.com/", "autoscaling"))}


def test_settings_arrive_in_the_words_of_cloud_run(place: CloudRunPlace, at: Releases) -> None:
    claimed = at.target.capabilities.settings
    candidate = at.deploy(at.image(), **{name: VALUES[name] for name in claimed})
    service = stored(place, at)
    assert own(service["metadata"]["annotations"]) == {
        "run.googleapis.com/minScale": "1",
        "run.googleapis.com/ingress": "internal",
    }
    assert service["metadata"]["labels"]["team"] == "search"
    template = service["spec"]["template"]
    assert template["metadata"] == {
        "name": candidate.revision,
        "annotations": {
            "autoscaling.knative.dev/maxScale": "3",
            "run.googleapis.com/startup-cpu-boost": "true",
            "run.googleapis.com/execution-environment": "gen2",
        },
    }
    spec = template["spec"]
    assert (spec["containerConcurrency"], spec["timeoutSeconds"]) == (8, 120)
    assert spec["serviceAccountName"] == "runner@demo-project.iam.gserviceaccount.com"
    (container,) = spec["containers"]
    assert container["resources"] == {"limits": {"cpu": "2", "memory": "1Gi"}}
    assert container["env"] == [
        {"name": "LOG", "value": "1"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "1"}}},
    ]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 90
    assert "readinessProbe" not in container


def test_settings_of_the_service_wait_for_the_promotion(place: CloudRunPlace, at: Releases) -> None:
    image = at.image()
    at.release(image, "r1", ingress="all", labels={"team": "search", "stage": "one"})

    def now() -> tuple[dict[str, str], dict[str, str]]:
        metadata = stored(place, at)["metadata"]
        return own(metadata["annotations"]), metadata.get("labels", {})

    first = {"run.googleapis.com/ingress": "all"}, {"team": "search", "stage": "one"}
    assert now() == first
    second = at.deploy(image, "r2", ingress="internal", min_instances=2, labels={"team": "ads"})
    assert now() == first
    at.settle("r2")
    assert now() == first
    second = at.deploy(image, "r3", ingress="internal", min_instances=2, labels={"team": "ads"})
    at.promote(second)
    assert now() == (
        {"run.googleapis.com/ingress": "internal", "run.googleapis.com/minScale": "2"},
        {"team": "ads"},
    )
    at.release(image, "r4")
    assert now() == ({}, {})


def test_the_dialect_of_another_platform_is_refused_field_by_field(place: CloudRunPlace, at: Releases) -> None:
    client = Client(place.run.url, headers={"Authorization": f"Bearer {place.iam.access_token('x@example.com')}"})
    wrong = KnativeTarget(client, "demo-project", dialect=Knative())
    rollout = Rollout("r1", (), (), Phase.CANDIDATE, 0.0)
    settings = Settings(min_instances=1, cpu="1")
    with pytest.raises(RemoteError, match=r"400 The request has errors") as caught:
        wrong.deploy(
            at.service, at.image()[0], settings=settings, rollout=rollout, known=None, deadline=Deadline.after(20)
        )
    for words in (
        "spec.template.metadata.annotations: Annotation 'serving.knative.dev/progress-deadline' is not supported",
        "Annotation 'autoscaling.knative.dev/min-scale' is not supported on resources of kind 'Revision'",
        "spec.template.spec.containers[0].readiness_probe should be empty",
        "resources.requests should be empty",
    ):
        assert words in str(caught.value)
    assert at.target.get(at.service, deadline=at.deadline) is None


def test_a_busy_server_is_asked_again_when_it_says_so_also_for_writes(place: CloudRunPlace, at: Releases) -> None:
    first = at.release(at.image(), "r1")
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    state, to_second = at.state, (TrafficTarget(second.revision, 100),)
    assert state.rollout is not None
    # The third request of a shift is its write: after the revision and the service.
    place.run.refuse_puts = [(429, "Quota exceeded", {"Retry-After": "1"}), (503, "unavailable", {})]
    begin = time.monotonic()
    at.target.shift(state, to_second, state.rollout.now(Phase.SHIFTING), deadline=at.deadline)
    assert time.monotonic() - begin >= 1
    assert place.run.refuse_puts == []
    assert at.traffic == {second.revision: 100}
    assert first.revision != second.revision


def test_a_write_whose_answer_was_lost_is_not_its_own_conflict(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r1")
    place.run.answers_lost = 1
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    place.run.answers_lost = 1
    at.promote(second)
    assert place.run.answers_lost == 0
    assert at.traffic == {second.revision: 100}


def test_a_revision_that_failed_gets_another_name_when_it_is_tried_again(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r0")
    for number in (1, 2):
        with pytest.raises(RevisionFailed, match="out of order"):
            at.deploy(at.image("exit"), f"r{number}")
    again, failed, _ = at.state.revisions
    assert again == f"{failed}-2"
