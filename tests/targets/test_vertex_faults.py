"""Faults on ``vertex:``: steps that were killed or outlasted, others who write, refusals."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from fakes.vertex_serving_server import VertexServingServer
from places import RIGHT, Releases
from vertex_place import VertexPlace, endpoint, releases, wait_for_operations

from lading.errors import (
    AccessDenied,
    Conflict,
    DeadlineExceeded,
    LadingError,
    QuotaExceeded,
    RemoteError,
    RolloutInProgress,
)
from lading.promote import promote_candidate
from lading.targets.base import Phase, Rollout
from lading.targets.settings import Settings

T = TypeVar("T")
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


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_step_can_be_killed_after_any_write_and_run_again(
    at: Releases, server: VertexServingServer, every: int
) -> None:
    first = at.release(at.image(), "r0")
    image, killed = at.image(RIGHT, "second"), 0

    def survive(step: Callable[[], T]) -> T:
        nonlocal killed
        try:
            return step()
        except RemoteError:
            killed, server.cut_after = killed + 1, 0
            assert at.traffic in ({first.revision: 100}, {at.state.revisions[0]: 100})
            return step()

    for number in range(1, 100, every):
        server.cut_after = number
        second = survive(partial(at.deploy, image, f"r{number}"))
        report = at.smoke(second)
        survive(partial(promote_candidate, second, report, target=at.target, deadline=at.deadline))
        finished, server.cut_after = server.cut_after > 0, 0
        assert at.traffic == {second.revision: 100}
        assert server.deployed(at.service) == [second.revision]
        assert at.target.get(f"{at.service}-candidate", deadline=at.deadline) is None
        assert at.state.rollout is not None
        assert at.state.rollout.phase is Phase.PROMOTED
        if finished:
            break
        back = (replace(at.state.serving()[0], revision=first.revision),)
        at.target.shift(at.state, back, at.state.rollout, deadline=at.deadline)
    assert killed * every >= 10


def test_a_deployment_that_outlasts_its_step_is_waited_for_by_the_next(
    at: Releases, server: VertexServingServer
) -> None:
    image, server.slow_deployments = at.image(), 3.0
    at.seconds = 1.5
    with pytest.raises(DeadlineExceeded):
        at.deploy(image)
    at.seconds = 60.0
    candidate = at.deploy(image)
    assert server.deployed(f"{at.service}-candidate") == [candidate.revision]
    assert sum(f"{at.service}-candidate:deployModel" in request for _, request in server.times) == 1
    assert at.smoke(candidate).passed


def test_a_first_release_can_be_killed_after_any_write_and_undone(at: Releases, server: VertexServingServer) -> None:
    for kills in range(1, 6):
        server.cut_after = kills
        with pytest.raises(RemoteError):
            at.deploy(at.image(), "r1")
        if kills > 1:  # before, the endpoint may still be in the making
            assert "deleted service" in at.settle("r1")
        at.target.delete(at.service, deadline=at.deadline)
        wait_for_operations(server)
        at.target.delete(at.service, deadline=at.deadline)
        assert at.target.get(at.service, deadline=at.deadline) is None
        assert at.target.get(f"{at.service}-candidate", deadline=at.deadline) is None


def test_two_first_releases_at_a_time_make_one_service(at: Releases) -> None:
    at.deploy(at.image(), "r1")
    rollout = Rollout("r2", (), (), Phase.CANDIDATE, time.time() + 60)
    with pytest.raises(Conflict):
        at.target.deploy(
            at.service, at.image()[0], settings=Settings(), rollout=rollout, known=None, deadline=at.deadline
        )
    with pytest.raises(RolloutInProgress, match="is being released by r1"):
        at.deploy(at.image(), "r2")


@pytest.mark.parametrize("status", [409, 400])
def test_a_write_that_meets_another_one_is_repeated_unless_it_is_about_the_release(
    at: Releases, server: VertexServingServer, status: int
) -> None:
    first = at.release(at.image(), "r1")
    server.etag_status = status
    state = at.state
    original, times = server.update_endpoint, 0

    def disturbed(*args: Any, query: dict[str, str], body: dict[str, Any]) -> Any:
        nonlocal times
        times += 1
        if times == 1:  # somebody gives the endpoint a label meanwhile
            endpoint(server, at.service)["etag"] = "another"
        return original(*args, query=query, body=body)

    server.routes = [(m, p, disturbed if f == original else f) for m, p, f in server.routes]
    rollout = Rollout("r2", state.serving(), (), Phase.CANDIDATE, time.time() + 60)
    at.target.shift(state, state.serving(), rollout, deadline=at.deadline)
    server.routes = [(m, p, original if f is disturbed else f) for m, p, f in server.routes]
    assert times == 2
    assert at.state.rollout is not None
    assert at.state.rollout.id == "r2"
    assert at.traffic == {first.revision: 100}


def test_a_quota_that_is_used_up_leaves_everything_as_it_was(at: Releases, server: VertexServingServer) -> None:
    first = at.release(at.image(), "r1")
    server.quota = 0
    with pytest.raises(QuotaExceeded, match=r"CustomModelServing.*IAM & Admin, Quotas"):
        at.deploy(at.image(RIGHT, "second"), "r2")
    assert at.traffic == {first.revision: 100}
    assert at.state.revisions == (first.revision,)
    assert at.target.get(f"{at.service}-candidate", deadline=at.deadline) is None
    server.quota = 100
    assert at.release(at.image(RIGHT, "second"), "r3").revision in at.traffic


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (401, AccessDenied, "gcloud auth application-default login"),
        (403, AccessDenied, r"roles/aiplatform\.user"),
        (429, QuotaExceeded, "Quotas"),
        (500, RemoteError, "the server's words"),
    ],
)
def test_refusals_are_told_in_a_paragraph(
    at: Releases, server: VertexServingServer, code: int, kind: type[LadingError], words: str
) -> None:
    server.failures.append((code, "the server's words"))
    with pytest.raises(kind, match=words):
        at.target.get(at.service, deadline=at.deadline)
