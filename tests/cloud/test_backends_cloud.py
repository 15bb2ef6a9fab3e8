"""The backends against the real services: ``make test-cloud PROJECT=… REGION=… ROOT=gs://…`` or ``KFP=https://…``.

It costs what four jobs of a minute on the smallest machine cost, and leaves its jobs and artifacts behind.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lading.backends.base import Backend, Submission
from lading.backends.connect import connect
from lading.flows.follow import Followed, Follower
from lading.flows.names import run_name
from lading.spec.ir import Pipeline
from lading.storage import exists, join, read_bytes, write_bytes
from lading.wait import Deadline

PROJECT, REGION, ROOT, KFP = (os.environ.get(name, "") for name in ("PROJECT", "REGION", "ROOT", "KFP"))
PLACES = [f"vertex:{PROJECT}/{REGION or 'us-central1'}"] * bool(PROJECT) + [f"kfp:{KFP}"] * bool(KFP)
pytestmark = [pytest.mark.cloud, pytest.mark.timeout(3600)]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    out = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    program = Path(__file__).parent.parent / "tiny_pipeline.py"
    subprocess.run([sys.executable, "-W", "ignore", program, out, "install"], check=True, timeout=60)
    return Pipeline.load(out)


@pytest.fixture(params=PLACES)
def backend(request: pytest.FixtureRequest) -> Backend:
    return connect(request.param, environ=os.environ)


def submission(pipeline: Pipeline, **parameters: object) -> Submission:
    given = {"words": "again and ", **parameters}
    return Submission(name=run_name("lading-test"), spec=pipeline.spec, parameters=given, pipeline_root=ROOT)


def follow(backend: Backend, run_id: str) -> Followed:
    return Follower(backend, run_id, lambda event: None).follow(Deadline.after(3000))


def test_a_run_comes_to_its_end(backend: Backend, pipeline: Pipeline) -> None:
    run = backend.submit(submission(pipeline), deadline=Deadline.after(60))
    done = follow(backend, run.id)
    assert (done.outcome, done.problem) == ("succeeded", "")
    assert {step.name for step in done.steps if step.status == "succeeded"} == {"prepare", "work", "polish"}


def test_a_failure_comes_with_the_end_of_the_steps_log(backend: Backend, pipeline: Pipeline) -> None:
    run = backend.submit(submission(pipeline, fail=True), deadline=Deadline.after(60))
    done = follow(backend, run.id)
    assert done.outcome == "failed"
    assert "cannot work on again and again and" in "\n".join([done.problem, *done.log])


def test_a_run_can_be_cancelled(backend: Backend, pipeline: Pipeline) -> None:
    run = backend.submit(submission(pipeline, seconds=600), deadline=Deadline.after(60))
    backend.cancel(run.id, deadline=Deadline.after(60))
    assert follow(backend, run.id).outcome == "cancelled"


def test_a_schedule_is_made_paused_and_deleted(backend: Backend, pipeline: Pipeline) -> None:
    made = backend.create_schedule(submission(pipeline), cron="0 6 1 1 *", max_parallel=1, deadline=Deadline.after(60))
    backend.set_schedule(made.id, active=False, deadline=Deadline.after(60))
    assert [s.active for s in backend.schedules(deadline=Deadline.after(60)) if s.id == made.id] == [False]
    backend.delete_schedule(made.id, deadline=Deadline.after(60))


@pytest.mark.skipif(not ROOT.startswith("gs://"), reason="ROOT=gs://… is not given")
def test_a_bucket_is_written_and_read() -> None:
    uri = join(ROOT, "lading-test.txt")
    write_bytes(uri, b"aboard")
    assert exists(uri)
    assert read_bytes(uri) == b"aboard"
