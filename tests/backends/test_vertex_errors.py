"""What goes wrong with Vertex AI Pipelines: each a paragraph that says what to do."""

import time
from pathlib import Path
from typing import Any

import pytest
from fakes.service import JsonService
from fakes.storage_server import Storage
from fakes.vertex_server import VertexServer
from followed_runs import follow
from soon import soon
from vertex_client import connect, submission

from lading.backends.base import Submission
from lading.backends.vertex import VertexBackend
from lading.errors import (
    AccessDenied,
    InvalidInput,
    LadingError,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)
from lading.flows.follow import Follower
from lading.spec.ir import Pipeline
from lading.wait import Deadline, poll

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_token_that_expires_in_the_middle_says_what_to_do(server: VertexServer, tiny: Pipeline) -> None:
    server.token = "first"
    backend = connect(server, CLOUDSDK_AUTH_ACCESS_TOKEN="first")
    run = backend.submit(submission(tiny, seconds=60), deadline=soon())

    def expire(event: dict[str, Any]) -> None:
        server.token = "second"

    with pytest.raises(AccessDenied, match="gcloud auth application-default login"):
        Follower(backend, run.id, expire).follow(Deadline.after(30))
    assert connect(server, CLOUDSDK_AUTH_ACCESS_TOKEN="second").read(run.id, deadline=soon()).state == "running"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (401, AccessDenied, "credentials"),
        (403, AccessDenied, r"roles/aiplatform\.user"),
        (404, NotFound, "run abc"),
        (429, QuotaExceeded, "quota"),
        (400, InvalidInput, "the server's words"),
        (503, ServiceUnreachable, "region"),
        (500, RemoteError, "the server's words"),
    ],
)
def test_every_refusal_is_a_paragraph_of_its_own(
    server: VertexServer, code: int, kind: type[Exception], words: str
) -> None:
    backend = connect(server)
    server.failures.append((code, "the server's words"))
    with pytest.raises(kind, match=words):
        backend.read("abc", deadline=soon())


def test_a_server_that_is_not_there_is_told_soon(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    server.stop()
    begin = time.monotonic()
    with pytest.raises(ServiceUnreachable):
        backend.read("abc", deadline=Deadline.after(5))
    with pytest.raises(ServiceUnreachable):
        backend.submit(submission(tiny), deadline=Deadline.after(5))
    assert time.monotonic() - begin < 20
    server.start()


def test_a_missing_bucket_is_told_and_not_made(server: VertexServer, storage: Storage, tiny: Pipeline) -> None:
    lost = Submission(**{**vars(submission(tiny)), "pipeline_root": "gs://nowhere/root"})
    with pytest.raises(NotFound, match="nowhere"):
        connect(server).submit(lost, deadline=soon())
    assert "nowhere" not in storage.buckets


def test_without_a_root_the_default_bucket_must_be_there(
    server: VertexServer, storage: Storage, tiny: Pipeline
) -> None:
    backend, nothing = connect(server), Submission(**{**vars(submission(tiny)), "pipeline_root": ""})
    with pytest.raises(NotFound, match=r"--pipeline-root.*no bucket proj-vertex-pipelines-us-central1"):
        backend.submit(nothing, deadline=soon())
    assert not server.sent
    storage.buckets["proj-vertex-pipelines-us-central1"] = {}
    backend.submit(nothing, deadline=soon())


def test_a_bucket_that_only_the_steps_may_use_is_no_obstacle(
    server: VertexServer, storage: Storage, tiny: Pipeline
) -> None:
    storage.denied.add("bucket")
    connect(server).submit(submission(tiny), deadline=soon())
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nope": 1}, "Unknown runtime parameter nope"),
        ({"factor": "two"}, "factor is not of type NUMBER_DOUBLE"),
        ({"words": {1, 2}}, "no form in JSON"),
    ],
)
def test_parameters_that_are_refused_are_named(
    server: VertexServer, tiny: Pipeline, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        connect(server).submit(submission(tiny, **given), deadline=soon())


def test_a_second_document_is_refused_before_anything_is_sent(server: VertexServer, tiny: Pipeline) -> None:
    two = Submission(**{**vars(submission(tiny)), "platform": {"platforms": {"kubernetes": {}}}})
    with pytest.raises(InvalidInput, match=r"second document.*lading compile --overlay"):
        connect(server).submit(two, deadline=soon())
    assert not server.times


def test_a_name_that_is_taken_is_told(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    backend.submit(submission(tiny), deadline=soon())
    with pytest.raises(RemoteError, match="already exists") as refused:
        backend.submit(submission(tiny), deadline=soon())
    assert refused.value.status == 409


def test_an_unknown_region_is_told_without_a_page_of_html(server: VertexServer, tiny: Pipeline) -> None:
    places = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": server.url}
    backend = VertexBackend.connect("proj", "us-centrall1", environ=places)
    with pytest.raises(NotFound, match="us-centrall1: there is no such region") as refused:
        backend.submit(submission(tiny), deadline=soon())
    assert "<" not in str(refused.value)


def test_a_host_that_does_not_resolve_is_told_with_the_region(
    tiny: Pipeline, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    places = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": "http://nowhere-aiplatform.invalid"}
    with pytest.raises(ServiceUnreachable, match=r"vertex:proj/nowhere1 does not answer .*region written rightly"):
        VertexBackend.connect("proj", "nowhere1", environ=places).submit(submission(tiny), deadline=soon())


def test_what_is_not_vertex_is_told(storage: Storage) -> None:
    """A page to log in, as a network's gate answers whatever is asked."""
    gate = JsonService()
    gate.routes = [("GET", ".*", lambda query, body: "<html>Accept our terms</html>")]
    places = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": gate.url}
    try:
        with pytest.raises(ServiceUnreachable, match="not Vertex AI"):
            VertexBackend.connect("proj", "us-central1", environ=places).read("abc", deadline=soon())
    finally:
        gate.stop()


def test_without_credentials_the_way_to_log_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name, value in {"CLOUDSDK_CONFIG": str(tmp_path), "NO_GCE_CHECK": "true"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AccessDenied, match=r"no Google credentials here.*gcloud auth application-default login"):
        VertexBackend.connect("proj", "us-central1", environ={})


def test_a_log_that_may_not_be_read_leaves_the_services_own_words(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, fail=True), deadline=soon())
    view = poll(
        lambda: found if (found := backend.read(run.id, deadline=soon())).state == "failed" else None,
        deadline=soon(),
        what="the failure",
    )
    assert view.problem == "The DAG failed because some tasks failed. The failed tasks are: [work]."
    server.failures += [(403, "Permission denied for all log views")]
    (step,) = [step for step in view.steps if step.status == "failed"]
    with pytest.raises(AccessDenied, match=r"Permission denied for all log views.*roles/logging\.viewer"):
        backend.logs(run.id, step, lines=5, deadline=soon())
    assert "exited with a non-zero status of 1" in step.problem
    assert "ValueError" in backend.logs(run.id, step, lines=5, deadline=soon())[-1]


def test_a_run_that_cannot_join_its_experiment_is_not_lost(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    sent = Submission(**{**vars(submission(tiny)), "experiment": "Not An Id"})
    with pytest.raises(LadingError, match=r"tiny-1 was started and goes on.*Invalid context id.*lading follow tiny-1"):
        backend.submit(sent, deadline=soon())
    assert follow(backend, "tiny-1").outcome == "succeeded"
