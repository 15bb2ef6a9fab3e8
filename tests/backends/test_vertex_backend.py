"""Vertex AI Pipelines through the real google-cloud-aiplatform, against a local server that runs what it is sent."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.storage_server import Storage
from fakes.vertex_server import VertexServer

from lading.backends.base import Submission
from lading.backends.vertex import VertexBackend
from lading.errors import AccessDenied, InvalidInput, NotFound, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.flows.follow import Followed, Follower
from lading.spec.ir import Pipeline
from lading.wait import Deadline, poll

RELEASE = Path(__file__).parent.parent.parent / "pipelines" / "compiled" / "release.yaml"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage()
    server.buckets["bucket"] = {}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "proj")
    yield server
    server.close()


@pytest.fixture
def server(tmp_path: Path, storage: Storage) -> Iterator[VertexServer]:
    made = VertexServer(tmp_path / "vertex", os.environ)
    yield made
    made.close()


def connect(server: VertexServer, **environ: str) -> VertexBackend:
    places = {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": server.url,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": server.url,
    }
    return VertexBackend.connect("proj", "us-central1", environ={**places, **environ})


def submission(tiny: Pipeline, name: str = "tiny-1", **parameters: Any) -> Submission:
    given = {"words": "again and ", **parameters}
    return Submission(name=name, spec=tiny.spec, parameters=given, pipeline_root="gs://bucket/root")


def soon() -> Deadline:
    return Deadline.after(20)


def follow(backend: VertexBackend, run_id: str) -> Followed:
    return Follower(backend, run_id, lambda event: None).follow(Deadline.after(60))


def test_a_run_is_followed_to_its_end(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    options = {"labels": {"team": "taxi"}, "service_account": "me@proj", "network": "n", "failure_policy": "fast"}
    sent = Submission(**{**vars(submission(tiny, factor=1.0)), **options, "spec": tiny.without_caching().spec})
    run = backend.submit(sent, deadline=soon())
    assert run.id == "tiny-1"
    assert run.url.endswith("/locations/us-central1/pipelines/runs/tiny-1?project=proj")
    done = follow(backend, run.id)
    assert (done.outcome, done.problem) == ("succeeded", "")
    assert [(step.name, step.status) for step in done.steps] == [("prepare", "succeeded"), ("work", "succeeded")]

    (body,) = server.sent.values()
    assert body["runtimeConfig"]["parameterValues"] == {"words": "again and ", "factor": 1.0}
    assert body["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/root"
    assert body["runtimeConfig"]["failurePolicy"] in ("PIPELINE_FAILURE_POLICY_FAIL_FAST", 2)
    assert body["labels"]["team"] == "taxi"
    assert (body["serviceAccount"], body["network"]) == ("me@proj", "n")
    tasks = body["pipelineSpec"]["root"]["dag"]["tasks"]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())


def test_a_failure_comes_with_the_end_of_the_steps_log(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, fail=True), deadline=soon())
    done = follow(backend, run.id)
    assert (done.outcome, done.problem) == ("failed", "step work: ValueError: cannot work on again and again and")
    assert any("Traceback" in line or "ValueError" in line for line in done.log)


def test_a_run_can_be_cancelled(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, seconds=60), deadline=soon())

    def working() -> bool | None:
        view = backend.read(run.id, deadline=soon())
        return any(step.name == "work" and step.status == "running" for step in view.steps) or None

    poll(working, deadline=soon(), what="work to run")
    backend.cancel(run.id, deadline=soon())
    assert follow(backend, run.id).outcome == "cancelled"


def test_following_survives_a_restart_and_asks_at_most_once_a_second(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, seconds=4), deadline=soon())
    kinds: list[str] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "tick" and "lost" not in kinds:
            server.stop()
        elif event["event"] == "lost":
            server.start()
            server.failures += [(503, "not yet")]
        kinds.append(event["event"])

    server.times.clear()
    assert Follower(backend, run.id, watch).follow(Deadline.after(60)).outcome == "succeeded"
    assert kinds.index("back") > kinds.index("lost")
    gaps = [after - before for (before, _), (after, _) in zip(server.times, server.times[1:], strict=False)]
    assert min(gaps) > 0.9, server.times


def test_a_token_that_expires_in_the_middle_says_what_to_do(server: VertexServer, tiny: Pipeline) -> None:
    server.token = "first"
    backend = connect(server, CLOUDSDK_AUTH_ACCESS_TOKEN="first")
    run = backend.submit(submission(tiny, seconds=2), deadline=soon())

    def expire(event: dict[str, Any]) -> None:
        server.token = "second"

    with pytest.raises(AccessDenied, match="gcloud auth application-default login"):
        Follower(backend, run.id, expire).follow(Deadline.after(30))
    assert follow(connect(server, CLOUDSDK_AUTH_ACCESS_TOKEN="second"), run.id).outcome == "succeeded"


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


def test_parameters_that_the_server_refuses_are_named(server: VertexServer, tiny: Pipeline) -> None:
    with pytest.raises(InvalidInput, match="nope"):
        connect(server).submit(submission(tiny, nope=1), deadline=soon())


def test_a_run_joins_an_experiment(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    sent = Submission(**{**vars(submission(tiny)), "experiment": "taxi-models"})
    assert follow(backend, backend.submit(sent, deadline=soon()).id).outcome == "succeeded"
    (experiment,) = [c for name, c in server.contexts.items() if name.endswith("/taxi-models")]
    assert [child.rpartition("/")[2] for child in experiment["children"]] == ["tiny-1"]


def test_schedules_are_made_listed_paused_fired_and_deleted(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    cron = "TZ=Europe/Vienna 30 6 * * 1"
    made = backend.create_schedule(submission(tiny), cron=cron, max_parallel=2, deadline=soon())
    assert (made.name, made.cron, made.active) == ("tiny-1", cron, True)
    assert made.next_run.startswith("2030-01-07T06:00:00")
    assert follow(backend, server.fire(made.id)).outcome == "succeeded"

    backend.set_schedule(made.id, active=False, deadline=soon())
    assert [(s.id, s.active) for s in backend.schedules(deadline=soon())] == [(made.id, False)]
    backend.set_schedule(made.id, active=True, deadline=soon())
    assert [s.active for s in backend.schedules(deadline=soon())] == [True]
    backend.delete_schedule(made.id, deadline=soon())
    assert backend.schedules(deadline=soon()) == []
    with pytest.raises(NotFound, match=made.id):
        backend.delete_schedule(made.id, deadline=soon())


def test_the_sdk_itself_takes_the_compiled_release(server: VertexServer, tiny_file: Path) -> None:
    """What a team does without lading: ``aiplatform.PipelineJob`` with the file.

    The SDK makes the bucket of the pipeline root; of one that is there it would ask the Resource Manager whose it is.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    aiplatform.init(project="proj", location="us-central1", credentials=AnonymousCredentials(),
                    api_endpoint=server.url, api_transport="rest")  # fmt: skip
    job = aiplatform.PipelineJob("release", str(RELEASE), job_id="release-1", pipeline_root="gs://new/root",
                                 parameter_values={"recipe": "none.py"})  # fmt: skip
    job.submit(service_account="me@proj.iam.gserviceaccount.com")
    assert next(iter(server.sent.values()))["pipelineSpec"]["pipelineInfo"]["name"] == "release"
    small = aiplatform.PipelineJob("tiny", str(tiny_file), job_id="tiny-2", pipeline_root="gs://newer/root",
                                   parameter_values={"words": "a"})  # fmt: skip
    small.run(service_account="me@proj.iam.gserviceaccount.com")
    assert small.state.name == "PIPELINE_STATE_SUCCEEDED"
