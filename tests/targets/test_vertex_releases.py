"""What is Vertex AI's own about a release: versions, machines, the candidate's endpoint, others' endpoints, names."""

from collections.abc import Iterator
from typing import Any

import pytest
from fakes.vertex_registry import NUMBER, PROJECT
from fakes.vertex_serving_server import VertexServingServer
from places import RIGHT, WRONG, Releases
from vertex_place import VertexPlace, endpoint, releases, versions

from lading.errors import AccessDenied, InvalidInput, NotFound
from lading.targets.vertex.door import predict_json

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexPlace]:
    made = VertexPlace(tmp_path_factory.mktemp("vertex"))
    yield made
    made.stop()


@pytest.fixture
def server(place: VertexPlace) -> VertexServingServer:
    return place.server


@pytest.fixture
def at(place: VertexPlace) -> Iterator[Releases]:
    with releases(place) as made:
        yield made


def test_revisions_are_versions_of_one_model_and_the_promoted_one_is_the_default(
    at: Releases, server: VertexServingServer
) -> None:
    first = at.release(at.image(), "r1")
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    assert versions(server, at) == {"1": ["default", first.revision], "2": [second.revision]}
    at.promote(second)
    assert versions(server, at) == {"1": [first.revision], "2": ["default", second.revision]}
    at.rollback()
    assert versions(server, at) == {"1": ["default", first.revision], "2": [second.revision]}


def test_only_what_takes_traffic_stays_deployed(at: Releases, server: VertexServingServer) -> None:
    candidate = f"{at.service}-candidate"
    first = at.deploy(at.image(), "r1")
    assert (server.deployed(at.service), server.deployed(candidate)) == ([], [first.revision])
    assert at.traffic == {}
    at.promote(first)
    second = at.deploy(at.image(RIGHT, "second"), "r2")
    assert (server.deployed(at.service), server.deployed(candidate)) == ([first.revision], [second.revision])
    at.promote(second)
    assert server.deployed(at.service) == [second.revision]
    assert at.target.get(candidate, deadline=at.deadline) is None
    at.rollback()
    assert server.deployed(at.service) == [first.revision]
    assert at.answering(first) == {first.revision}
    at.deploy(at.image(WRONG), "r3")
    at.settle("r3")
    assert server.deployed(at.service) == [first.revision]
    assert at.target.get(candidate, deadline=at.deadline) is None


def test_replicas_and_machine_are_those_of_the_settings_also_after_a_rollback(
    at: Releases, server: VertexServingServer
) -> None:
    settings = {"machine_type": "n1-standard-4", "min_instances": 2, "max_instances": 5,
                "service_account": "runner@demo-project.iam.gserviceaccount.com"}  # fmt: skip
    first = at.deploy(at.image(), "r1", **settings, labels={"team": "search"})
    (own,) = endpoint(server, f"{at.service}-candidate")["deployedModels"]
    assert (own["dedicatedResources"]["minReplicaCount"], own["dedicatedResources"]["maxReplicaCount"]) == (1, 1)
    at.promote(first)
    second = at.release(at.image(RIGHT, "second"), "r2")
    (fixed,) = endpoint(server, at.service)["deployedModels"]
    assert fixed["displayName"] == second.revision
    assert fixed["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1, "maxReplicaCount": 1,
    }  # fmt: skip
    at.rollback()
    (scaled,) = endpoint(server, at.service)["deployedModels"]
    assert scaled["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 2, "maxReplicaCount": 5,
    }  # fmt: skip
    assert scaled["serviceAccount"] == settings["service_account"]
    assert endpoint(server, at.service)["labels"] == {"lading": "1", "team": "search"}
    with pytest.raises(InvalidInput, match="max_instances ≥ min_instances, received 2 and 3"):
        at.deploy(at.image(), "r3", min_instances=3, max_instances=2)


def test_a_token_from_the_environment_is_sent_with_everything(place: VertexPlace, at: Releases) -> None:
    place.server.token = "secret"
    with pytest.raises(AccessDenied):
        at.deploy(at.image())
    at.target = place.connect(CLOUDSDK_AUTH_ACCESS_TOKEN="secret")
    candidate = at.release(at.image(), "r1")
    assert at.answering(candidate) == {candidate.revision}


def test_an_endpoint_that_somebody_else_made_is_taken_by_its_display_name_and_never_deleted(
    at: Releases, server: VertexServingServer
) -> None:
    server.endpoints[f"projects/{NUMBER}/locations/europe-west4/endpoints/77"] = {
        "name": f"projects/{NUMBER}/locations/europe-west4/endpoints/77", "displayName": at.service,
        "description": "For the shop.", "labels": {"team": "shop"}, "deployedModels": [], "trafficSplit": {},
        "createTime": "2026-01-01T00:00:00Z", "etag": "a",
    }  # fmt: skip
    first = at.release(at.image(), "r1")
    assert first.service_url.endswith("/endpoints/77")
    assert at.answering(first) == {first.revision}
    made = endpoint(server, "77")
    assert made["description"].startswith("For the shop.\n")
    split = endpoint(server, "77")["trafficSplit"]
    split.clear()
    at.target.delete(at.service, deadline=at.deadline)
    assert endpoint(server, "77")["labels"] == {"team": "shop"}
    assert server.deployed("77") == []
    assert versions(server, at) == {}
    del server.endpoints[made["name"]]


def test_predict_json_asks_as_the_tutorial_does(place: VertexPlace, at: Releases) -> None:
    at.release(at.image(), "r1")
    found = predict_json(PROJECT, at.service, [[1.0], [2.0]], region="europe-west4", environ=place.environ)
    assert found == [RIGHT, RIGHT]
    with pytest.raises(NotFound, match="no endpoint nobody"):
        predict_json(PROJECT, "nobody", [[1.0]], region="europe-west4", environ=place.environ)


def test_vertex_names_what_was_promoted(at: Releases) -> None:
    candidate = at.release(at.image(), "r1")
    found = at.target.resources(at.service, candidate.revision, deadline=at.deadline)  # type: ignore[attr-defined]
    assert found.endpoint == f"projects/{NUMBER}/locations/europe-west4/endpoints/{at.service}"
    assert found.model == f"projects/{NUMBER}/locations/europe-west4/models/{at.service}@1"
    assert found.base_url + found.endpoint == candidate.service_url


@pytest.mark.parametrize(
    ("service", "settings", "message"),
    [
        ("Tiny", {}, "expected a service's name of at most 53 characters"),
        ("a" * 54, {}, "expected a service's name of at most 53 characters"),
        ("tiny", {"labels": {"Team": "search"}}, "labels: .* received 'Team': 'search'"),
        ("tiny", {"labels": {"team": "x" * 64}}, "at most 63 characters"),
    ],
)
def test_names_that_vertex_does_not_take_are_refused_before_anything_is_sent(
    at: Releases, server: VertexServingServer, service: str, settings: dict[str, Any], message: str
) -> None:
    at.service, before = service, server.writes
    with pytest.raises(InvalidInput, match=message):
        at.deploy(at.image(), **settings)
    assert server.writes == before
    at.service = "tiny"
