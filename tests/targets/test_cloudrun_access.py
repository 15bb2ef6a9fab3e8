"""Who may do what on ``cloudrun:``, and what whoever may not is told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudrun_place import NAME, CloudRunPlace, releases
from fakes.metadata_server import MetadataServer
from places import RIGHT, Releases

from lading.errors import AccessDenied, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.targets.connect import connect
from lading.wait import Deadline


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudRunPlace]:
    made = CloudRunPlace(tmp_path_factory.mktemp("cloud-run"))
    yield made
    made.stop()


@pytest.fixture
def at(place: CloudRunPlace) -> Iterator[Releases]:
    with releases(place) as made:
        yield made


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
