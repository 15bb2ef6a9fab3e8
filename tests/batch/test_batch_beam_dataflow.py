"""Runs on Dataflow: Beam's DataflowRunner and its client, against a service on this machine that runs the pipeline."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_runs import write_images
from fakes.storage_server import Storage
from test_batch_beam import SHARDS, predictions, put, run, started, wait_until, words, written

pytestmark = pytest.mark.beam
IMAGE = "europe-docker.pkg.dev/p/lading/batch@sha256:" + "0" * 64


@dataclass
class Cloud:
    storage: Storage
    dataflow: Any

    @property
    def beam(self) -> str:
        places = "--temp_location=gs://b/temp --staging_location=gs://b/staging"
        about = f"--runner=DataflowRunner --project=project-1 --region=europe-west4 {places}"
        return f"--beam={about} --sdk_container_image={IMAGE} --dataflow_endpoint={self.dataflow.endpoint}"

    def run(self, *more: str, code: int = 0) -> dict[str, Any]:
        return run("gs://b/model", "gs://b/in/", "gs://b/out", *SHARDS, *more, self.beam, code=code)


@pytest.fixture
def cloud(mlp_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    from fakes.dataflow_server import DataflowServer  # wants Dataflow's library
    from fakes.iam_server import IamServer
    from fakes.metadata_server import MetadataServer

    storage, iam = Storage(buckets={"b": {}}), IamServer()
    dataflow, machine = DataflowServer(tmp_path, storage, iam), MetadataServer(iam)
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, machine.host)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    # google-auth asks Google itself where else an account may be used, and goes on without an answer.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    for number in range(2):
        write_images(tmp_path / f"in/{number}.jsonl", 300, seed=number)
    put(storage, mlp_model, "model")
    put(storage, tmp_path / "in", "in")
    try:
        yield Cloud(storage, dataflow)
    finally:
        dataflow.close()
        for server in (machine, iam):
            server.stop()
        storage.close()


def test_a_job_is_what_a_run_here_is(cloud: Cloud, mlp_model: Path, tmp_path: Path) -> None:
    report = cloud.run()
    assert (report["rows"], report["passed"]) == (600, True)
    run(mlp_model, tmp_path / "in", tmp_path / "here", *SHARDS)
    assert written(cloud.storage) == predictions(tmp_path / "here")
    (job,) = cloud.dataflow.jobs.values()
    assert (job["projectId"], job["location"], job["currentState"]) == ("project-1", "europe-west4", "JOB_STATE_DONE")
    assert job["type"] in (1, "JOB_TYPE_BATCH")
    images = {
        harness["containerImage"] for harness in job["environment"]["workerPools"][0]["sdkHarnessContainerImages"]
    }
    assert images == {IMAGE}
    # The plan is read from the output: a job stays small, however many files there are.
    assert b"in/0.jsonl" not in cloud.storage.buckets["b"][staged(cloud, job)].content
    again = cloud.run()
    assert again["rows"] == 600
    assert len(cloud.dataflow.jobs) == 1


def staged(cloud: Cloud, job: dict[str, Any]) -> str:
    url: str = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return url.removeprefix("gs://b/")


def test_what_a_worker_raises_is_told_in_a_sentence(cloud: Cloud) -> None:
    """Storage fails for longer than it is tried again, or here: an input goes while the job is being started."""
    with started(words("gs://b/model", "gs://b/in/", "gs://b/out", *SHARDS, cloud.beam)) as child:
        wait_until(lambda: "out/_lading/manifest.json" in cloud.storage.buckets["b"])
        del cloud.storage.buckets["b"]["in/1.jsonl"]
        _, said = child.communicate(timeout=100)
    assert child.returncode == 3
    assert said.strip().splitlines()[-1].startswith("lading: gs://b/in/1.jsonl is gone since the run was planned")
    assert next(iter(cloud.dataflow.jobs.values()))["currentState"] == "JOB_STATE_FAILED"


def test_a_job_that_is_refused_is_told_in_a_sentence(cloud: Cloud) -> None:
    message = "(f1): Could not create workflow; user does not have write access to project: project-1"
    cloud.dataflow.refused = message
    said = cloud.run(code=3)["said"]
    assert said.startswith(f"lading: Beam's runner was refused: 403 POST {cloud.dataflow.endpoint}")
    assert message in said


def test_what_its_workers_cannot_reach_is_refused_before_there_is_a_job(cloud: Cloud, tmp_path: Path) -> None:
    said = run("gs://b/model", tmp_path / "in/0.jsonl", "gs://b/out", cloud.beam, code=2)["said"]
    assert f"cannot reach {tmp_path}/in/0.jsonl" in said
    assert not cloud.dataflow.jobs


@pytest.mark.parametrize("who", ["somebody else", "Ctrl-C"])
def test_a_job_that_is_cancelled_is_gone_on_with(cloud: Cloud, who: str) -> None:
    cloud.dataflow.stuck = True
    with started(words("gs://b/model", "gs://b/in/", "gs://b/out", *SHARDS, cloud.beam)) as child:
        wait_until(lambda: [job["currentState"] for job in cloud.dataflow.jobs.values()] == ["JOB_STATE_RUNNING"])
        (job,) = cloud.dataflow.jobs.values()
        if who == "Ctrl-C":
            time.sleep(1)  # the answer to the request for the job is on its way
            child.send_signal(signal.SIGINT)
        else:
            job["currentState"] = "JOB_STATE_CANCELLED"
        _, said = child.communicate(timeout=100)
    assert job["currentState"] == "JOB_STATE_CANCELLED"
    assert "the same command goes on" in said.strip().splitlines()[-1]
    assert child.returncode == (130 if who == "Ctrl-C" else 3)
    assert not [name for name in cloud.storage.buckets["b"] if name.endswith(("lock.json", "beam/attempt"))]
    cloud.dataflow.stuck = False
    assert cloud.run()["rows"] == 600
