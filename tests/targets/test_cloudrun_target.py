"""``cloudrun:`` keeps the contract of a target: google-auth against servers that refuse what Google's refuse."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import TargetContract
from fakes.cloud_run_server import CloudRunServer
from fakes.iam_server import IamServer
from fakes.metadata_server import MetadataServer
from local_place import LocalPlace
from places import RIGHT, VALUES, Releases

from lading.errors import AccessDenied, QuotaExceeded, RemoteError, RevisionFailed, ServiceUnreachable
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.base import Phase, Rollout, Target
from lading.targets.connect import connect
from lading.targets.knative.dialects import Knative
from lading.targets.knative.target import KnativeTarget
from lading.targets.settings import Settings
from lading.wait import Deadline

NAME = "cloudrun:demo-project/europe-west4"


class CloudRunPlace:
    """See ``places.Place``; who deploys has the key of a service account."""

    target_name = NAME

    def __init__(self, root: Path) -> None:
        self.iam, self.local = IamServer(), LocalPlace(root / "local")
        self.run = CloudRunServer(self.local.endpoint, self.iam)
        self.environ = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.iam.key_file(root / "key.json")),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"{self.run.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"{self.iam.url}/",
            "HOME": str(root),
        }
        self.target: Target = connect(NAME, environ=self.environ)

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        return self.local.make_image(answer, label)

    def stop(self) -> None:
        self.run.stop()
        self.iam.stop()
        self.local.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRunPlace]:
    made = CloudRunPlace(tmp_path_factory.mktemp("cloud-run"))
    yield made
    made.stop()


class TestCloudRun(TargetContract):
    pass


@pytest.fixture
def at(place: CloudRunPlace) -> Iterator[Releases]:
    releases = Releases(place)
    yield releases
    place.run.failures.clear()
    place.run.enabled = True
    releases.target.delete(releases.service, deadline=releases.deadline)


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


NOT_ENABLED = "Cloud Run Admin API has not been used in project demo-project before or it is disabled."
ACT_AS = "Permission 'iam.serviceaccounts.actAs' denied on service account runner@demo-project.iam.gserviceaccount.com"
MAY_NOT = "Permission 'run.services.get' denied on resource 'namespaces/demo-project/services/tiny' (or resource …)."


@pytest.mark.parametrize(
    ("code", "message", "advice", "kind"),
    [
        (403, NOT_ENABLED, "gcloud services enable run.googleapis.com --project demo-project", AccessDenied),
        (403, ACT_AS, "roles/iam.serviceAccountUser on the service account", AccessDenied),
        (403, MAY_NOT, "roles/run.viewer in project demo-project", AccessDenied),
        (429, "Quota exceeded for quota metric 'Write requests'", "wait a minute, or ask for more", QuotaExceeded),
    ],
)
def test_refusals_say_what_to_do(
    place: CloudRunPlace, at: Releases, code: int, message: str, advice: str, kind: type[RemoteError]
) -> None:
    place.run.failures += [(code, message)] * 50
    with pytest.raises(kind) as caught:
        at.target.get(at.service, deadline=Deadline.after(0.5))
    place.run.failures.clear()
    assert message in str(caught.value)
    assert advice in str(caught.value)
    assert caught.value.status == code


def test_a_region_that_is_none_is_suspected() -> None:
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://127.0.0.1:1", "CLOUDSDK_AUTH_ACCESS_TOKEN": "t"}
    target = connect("cloudrun:demo-project/moon", environ=environ)
    with pytest.raises(ServiceUnreachable, match="is moon a region of Cloud Run"):
        target.get("tiny", deadline=Deadline.after(0.3))


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


def test_an_access_token_that_is_refused_is_renewed(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r1")
    place.iam.revoke_all()
    assert at.target.get(at.service, deadline=at.deadline) is not None


def test_an_access_token_of_the_environment_that_expired_is_named(place: CloudRunPlace, at: Releases) -> None:
    token = place.iam.access_token("person@example.com")
    environ = {**place.environ, "CLOUDSDK_AUTH_ACCESS_TOKEN": token}
    target = connect(NAME, environ=environ)
    assert target.get(at.service, deadline=at.deadline) is None
    place.iam.revoke_all()
    with pytest.raises(AccessDenied, match="a new CLOUDSDK_AUTH_ACCESS_TOKEN"):
        target.get(at.service, deadline=at.deadline)


def test_a_revision_that_failed_gets_another_name_when_it_is_tried_again(place: CloudRunPlace, at: Releases) -> None:
    at.release(at.image(), "r0")
    for number in (1, 2):
        with pytest.raises(RevisionFailed, match="out of order"):
            at.deploy(at.image("exit"), f"r{number}")
    again, failed, _ = at.state.revisions
    assert again == f"{failed}-2"


def test_a_service_is_private_until_it_is_opened(place: CloudRunPlace, at: Releases) -> None:
    candidate = at.release(at.image(), "r1")
    anonymous = Client(candidate.service_url)
    with pytest.raises(AccessDenied, match="403"):
        anonymous.request("GET", "/v2/health/ready", deadline=at.deadline)
    place.run.policies[at.service] = {
        "etag": "1",
        "bindings": [{"role": "roles/run.invoker", "members": ["user:a@example.com"]}],
    }
    place.run.changed_meanwhile = 2
    at.target.set_public(at.service, True, deadline=at.deadline)
    anonymous.request("GET", "/v2/health/ready", deadline=at.deadline)
    assert place.run.members(at.service) == {"user:a@example.com", "allUsers"}
    at.target.set_public(at.service, False, deadline=at.deadline)
    assert place.run.members(at.service) == {"user:a@example.com"}
    with pytest.raises(AccessDenied, match="403"):
        anonymous.request("GET", "/v2/health/ready", deadline=at.deadline)


def test_a_person_can_smoke_an_open_service_and_is_told_how_for_a_private_one(
    place: CloudRunPlace, at: Releases, tmp_path: Path
) -> None:
    candidate = at.release(at.image(), "r1")
    person = {"GOOGLE_APPLICATION_CREDENTIALS": str(place.iam.user_file(tmp_path / "user.json"))}
    door = connect(NAME, environ=person).door(at.service, None, url=candidate.service_url, model="tiny")
    with pytest.raises(AccessDenied, match="gcloud auth print-identity-token"):
        door.is_ready(deadline=at.deadline)
    given = {"LADING_ID_TOKEN": place.iam.id_token("person@example.com", candidate.service_url)}
    door = connect(NAME, environ=given).door(at.service, None, url=candidate.service_url, model="tiny")
    with pytest.raises(AccessDenied, match=r"needs roles/run.invoker on the service"):
        door.is_ready(deadline=at.deadline)
    at.target.set_public(at.service, True, deadline=at.deadline)
    door = connect(NAME, environ=person).door(at.service, None, url=candidate.service_url, model="tiny")
    assert door.is_ready(deadline=at.deadline)


def test_the_audience_of_a_tag_is_the_service(place: CloudRunPlace, at: Releases) -> None:
    place.iam.minted.clear()
    at.release(at.image(), "r1")
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    assert at.smoke(second).passed
    assert second.url != second.service_url
    assert {claims["aud"] for claims in place.iam.minted if "aud" in claims} == {second.service_url}


def test_on_a_machine_of_google_cloud_no_file_is_needed(place: CloudRunPlace, at: Releases, tmp_path: Path) -> None:
    # google-auth reads the address of the metadata server once, as it is imported: in a process of its own.
    candidate = at.release(at.image(), "r1")
    machine = MetadataServer(place.iam)
    script = (
        "import os, sys\n"
        "from lading.targets.connect import connect\n"
        "from lading.wait import Deadline\n"
        f"target = connect({NAME!r}, environ=os.environ)\n"
        f"state = target.get({at.service!r}, deadline=Deadline.after(30))\n"
        f"door = target.door({at.service!r}, None, url=state.url, model='tiny')\n"
        "print(state.revisions[0], door.is_ready(deadline=Deadline.after(30)))\n"
    )
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": place.run.url, "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    environ |= {"GCE_METADATA_HOST": machine.host, "GCE_METADATA_IP": machine.host, "PATH": os.environ["PATH"]}
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=100, check=False
        )
    finally:
        machine.stop()
    assert done.stdout.split() == [candidate.revision, "True"], done.stderr
