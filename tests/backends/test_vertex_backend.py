"""Vertex AI Pipelines through the real google-cloud-aiplatform, against a local server that runs what it is sent."""

from pathlib import Path
from typing import Any

import pytest
from fakes.vertex_server import VertexServer
from followed_runs import follow, least_gap, until_working
from soon import soon
from vertex_client import connect, submission

from lading.backends.base import Submission
from lading.errors import NotFound
from lading.flows.follow import Follower
from lading.spec.ir import Pipeline
from lading.wait import Deadline

RELEASE = Path(__file__).parent.parent.parent / "pipelines" / "compiled" / "release.yaml"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


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
    assert done.log[-1].strip() == "ValueError: cannot work on again and again and"


def test_groups_and_the_run_itself_are_no_steps(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    backend.submit(submission(tiny, words="again"), deadline=soon())
    backend.submit(submission(tiny, "tiny-2", words="again and ", factor=1.0), deadline=soon())
    assert [step.name for step in follow(backend, "tiny-1").steps] == ["prepare", "work"]
    (job,) = [view for name in server.sent if (view := server.view(name))["name"].endswith("/tiny-1")]
    tasks = {task["taskName"]: task["state"] for task in job["jobDetail"]["taskDetails"]}
    assert tasks == {"tiny-1": "SUCCEEDED", "prepare": "SUCCEEDED", "work": "SUCCEEDED", "condition-1": "NOT_TRIGGERED"}
    follow(backend, "tiny-2")


def test_a_step_from_the_cache_has_succeeded(server: VertexServer, tiny: Pipeline) -> None:
    server.cached.add("prepare")
    backend = connect(server)
    done = follow(backend, backend.submit(submission(tiny), deadline=soon()).id)
    assert ("prepare", "succeeded") in [(step.name, step.status) for step in done.steps]


def test_a_run_can_be_cancelled(server: VertexServer, tiny: Pipeline) -> None:
    backend = connect(server)
    run = backend.submit(submission(tiny, seconds=60), deadline=soon())
    until_working(backend, run.id)
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
    assert least_gap(server.times) > 0.9, server.times


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
    assert any("/operations/" in path for _, path in server.times)
    with pytest.raises(NotFound, match=made.id):
        backend.delete_schedule(made.id, deadline=soon())


@pytest.mark.slow
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
    assert {job.name for job in aiplatform.PipelineJob.list()} == {"release-1", "tiny-2"}
    small.delete()
    assert [name.rpartition("/")[2] for name in server.sent] == ["release-1"]
