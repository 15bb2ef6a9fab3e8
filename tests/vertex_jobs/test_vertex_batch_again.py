"""The same request is one job, however it is asked for."""

import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from fakes.storage_server import Storage
from fakes.vertex_jobs import VertexBatchServer
from fakes.vertex_registry import NUMBER, PROJECT
from vertex_asking import ENDPOINT, REGION, asked, lines, predict, upload, wait_for, written

from lading.errors import (
    DeadlineExceeded,
    RemoteError,
)


def test_the_same_request_is_one_job_and_one_model(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]]
) -> None:
    first = predict(server, asked(image))
    again = predict(server, asked(image, max_bad_rows="0"))
    assert not first.resumed
    assert again.resumed
    assert (again.job, again.output) == (first.job, first.output)
    others = [
        asked(image, run_id="tuesday"),
        asked(image, options={"batch_size": 2}),
        asked(image, output="gs://out/elsewhere"),
        asked(image, restart=True),
    ]
    assert len({predict(server, one).job for one in others} | {first.job}) == 5
    storage.put("data", "in/a.jsonl", lines(rows[:2]))  # another content under the same name
    assert predict(server, asked(image)).rows == 4
    assert list(server.models) == [f"projects/{NUMBER}/locations/{REGION}/models/tiny-batch"]
    assert len(server.models[f"projects/{NUMBER}/locations/{REGION}/models/tiny-batch"]) == 1


def test_predictions_that_were_deleted_are_made_again(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]]
) -> None:
    first = predict(server, asked(image))
    storage.buckets["out"].clear()
    again = predict(server, asked(image))
    assert again.job != first.job
    assert written(storage, again)


def test_a_failed_job_is_no_result(server: VertexBatchServer, image: str, rows: list[dict[str, Any]]) -> None:
    server.broken = (13, "INTERNAL")
    with pytest.raises(RemoteError, match="is failed: INTERNAL"):
        predict(server, asked(image))
    server.broken = None
    assert not predict(server, asked(image)).resumed


def test_a_job_whose_start_was_not_answered_is_found(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    model = upload(server, image)
    server.cut_after = 1
    assert predict(server, asked(model=model)).passed
    assert len(server.jobs) == 1


def start(image: str) -> "subprocess.Popen[str]":
    words = ["vertex-batch", "--image", image, "--project", PROJECT, "--region", REGION]
    words += ["-i", "gs://data/in", "-o", "gs://out/predicted", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "lading", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_step_that_was_killed_finds_its_job_and_a_cancelled_one_cancels_it(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    server.stuck = True
    killed = start(image)
    job = wait_for(server, "RUNNING")
    killed.kill()
    killed.communicate(timeout=30)
    assert wait_for(server, "RUNNING") is job
    cancelled = start(image)
    assert cancelled.stderr
    for line in cancelled.stderr:
        if "RUNNING" in line:
            break
    cancelled.send_signal(signal.SIGTERM)
    _, said = cancelled.communicate(timeout=30)
    assert cancelled.returncode == 143
    assert "cancelled" in said
    wait_for(server, "CANCELLED")
    assert len(server.jobs) == 1


def test_a_job_that_takes_too_long_is_cancelled(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    server.stuck = True
    with pytest.raises(DeadlineExceeded, match=r"\(RUNNING\), so it is cancelled"):
        predict(server, asked(image), seconds=3)
    wait_for(server, "CANCELLED")
    server.stuck = False
    assert not predict(server, asked(image)).resumed


def test_the_server_refuses_fields_that_the_api_does_not_have(server: VertexBatchServer) -> None:
    import requests

    where = f"{server.url}/v1/projects/{PROJECT}/locations/{REGION}/batchPredictionJobs"
    answer = requests.post(where, json={"displayName": "x", "machine": "y"}, timeout=10)
    assert answer.status_code == 400
    assert 'no field named "machine"' in answer.json()["error"]["message"]


def test_jobs_are_deleted_when_they_have_ended(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    from google.api_core.exceptions import BadRequest
    from google.cloud.aiplatform_v1 import JobServiceClient

    from lading.vertex_api import VertexApi

    client = VertexApi.find(PROJECT, REGION, environ={ENDPOINT: server.url}).service(JobServiceClient)
    first = predict(server, asked(image))
    client.delete_batch_prediction_job(name=first.job).result(timeout=10)
    assert server.jobs == {}
    server.stuck = True
    with pytest.raises(DeadlineExceeded):
        predict(server, asked(image), seconds=2, tell=lambda words: time.sleep(0.01))
    (name,) = server.jobs
    server.jobs[name]["state"] = "JOB_STATE_RUNNING"
    with pytest.raises(BadRequest, match="cancel it first"):
        client.delete_batch_prediction_job(name=name)
