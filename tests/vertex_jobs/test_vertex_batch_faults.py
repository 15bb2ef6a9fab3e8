"""What goes wrong with batch prediction jobs, and what is said about it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.storage_server import Storage
from fakes.vertex_jobs import VertexBatchServer
from fakes.vertex_registry import PROJECT
from tiny_server import make_image
from vertex_asking import REGION, asked, predict, upload

from lading.errors import (
    AccessDenied,
    InvalidInput,
    InvalidReference,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)
from lading.local.state import Layout
from lading.oci.layout import ImageStore


@pytest.mark.parametrize(
    ("limit", "passed"), [("1", True), ("0", False), ("20%", True), ("16%", False)]
)  # of six rows one
def test_too_many_bad_rows_are_a_negative_verdict(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]], limit: str, passed: bool
) -> None:
    storage.put("data", "in/broken.jsonl", b"{not json\n")
    report = predict(server, asked(image, max_bad_rows=limit))
    assert (report.passed, report.rows, report.bad_rows) == (passed, 6, 1)
    (check,) = report.checks
    assert check.expected == f"at most {limit}"
    assert check.received == "1 of 6"


def test_rows_that_the_service_did_not_count_are_not_bad(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    server.counts = False
    report = predict(server, asked(image, max_bad_rows="0"))
    assert report.passed
    assert (report.rows, report.bad_rows, report.incomplete) == (5, 0, -1)


def test_a_job_that_fails_says_all_of_it_in_one_paragraph(
    server: VertexBatchServer, storage: Storage, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    broken, _ = make_image(ImageStore(Layout(server.images).images), tmp_path / "broken", answer="error")
    with pytest.raises(InvalidInput) as told:
        predict(server, asked(broken))
    words = str(told.value)
    assert words.startswith(f"vertex:{PROJECT}/{REGION}: job ")
    assert "is failed: All rows failed. On the way: Post request fails. Cannot get predictions." in words
    assert "Rows: 5 failed. What it wrote is below gs://out/predicted/prediction-tiny-batch-" in words
    assert "batch-predictions/" in words
    assert "\n" not in words


def test_an_image_that_does_not_start(server: VertexBatchServer, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    broken, _ = make_image(ImageStore(Layout(server.images).images), tmp_path / "exits", answer="exit")
    with pytest.raises(RemoteError, match=r"Model server terminated.* has the log of the container: https://"):
        predict(server, asked(broken))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (7, AccessDenied, r"roles/storage\.objectUser"),
        (8, QuotaExceeded, "fewer replicas"),
        (3, InvalidInput, "no way"),
    ],
)
def test_a_job_that_fails_for_a_known_reason_says_what_to_do(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]], code: int, kind: type[Exception], words: str
) -> None:
    server.broken = (code, "no way")
    with pytest.raises(kind, match=words):
        predict(server, asked(image))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (400, InvalidInput, "Vertex refuses what was sent"),
        (401, AccessDenied, "gcloud auth application-default login"),
        (403, AccessDenied, r"roles/aiplatform\.user"),
        (429, QuotaExceeded, "A quota is used up"),
        (503, ServiceUnreachable, "slow down"),
        (500, RemoteError, "slow down"),
    ],
)
def test_refusals_say_what_to_do(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]], code: int, kind: type[Exception], words: str
) -> None:
    model, create = upload(server, image), server.handle

    def refuse(method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST":
            from fakes.service import Refused

            raise Refused(code, "slow down")
        return create(method, path, query, body)

    server.handle = refuse  # type: ignore[method-assign]
    with pytest.raises(kind, match=words):
        predict(server, asked(model=model))
    assert server.jobs == {}


def test_a_service_that_stumbles_while_the_job_runs_is_asked_again(
    server: VertexBatchServer, image: str, rows: list[dict[str, Any]]
) -> None:
    def stumble(words: str) -> None:
        if words.endswith(f"?project={PROJECT}"):
            server.failures = [(503, "away"), (429, "slow down"), (500, "oops")]

    assert predict(server, asked(image), tell=stumble).passed
    assert not server.failures


def test_a_service_that_is_away(server: VertexBatchServer, image: str, rows: list[dict[str, Any]]) -> None:
    server.stop()
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        predict(server, asked(image), seconds=3)
    server.start()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"model": "projects/p/locations/europe-west4/models/m"}, InvalidInput, "one of the two"),
        ({"image": ""}, InvalidInput, "one of the two"),
        ({"image": "", "model": "taxi"}, InvalidReference, "expected as model projects/"),
        ({"image": "", "model": "projects/p/locations/us-central1/models/m"}, InvalidReference, "a model in europe-"),
        ({"image": "registry/taxi:v1"}, InvalidReference, "a tag can move"),
        ({"inputs": ()}, InvalidInput, "expected an input"),
        ({"inputs": ("/tmp/rows.jsonl",)}, InvalidReference, "expected gs://BUCKET/NAME for the format jsonl"),
        ({"inputs": ("gs://data/nothing",)}, NotFound, "no file at gs://data/nothing"),
        ({"inputs": ("gs://data/*.csv",)}, NotFound, r"no file at gs://data/\*\.csv"),
        ({"inputs": ("gs://nowhere/x",)}, NotFound, "no bucket nowhere"),
        ({"output": "/tmp/out"}, InvalidReference, "expected as output gs://"),
        ({"output": "gs://out/*/x"}, InvalidReference, "expected as output gs://"),
        ({"max_bad_rows": "some"}, InvalidInput, "a share as 1%"),
        ({"model_name": "Taxi!"}, InvalidInput, "expected a service's name"),
        ({"options": {"input_format": "bigquery"}}, InvalidReference, "expected one table bq://"),
        ({"options": {"accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1}}, InvalidInput, "on processors"),
        ({"options": {"generate_explanation": True}}, InvalidInput, "explanation spec"),
        ({"options": {"machine_type": "huge-1"}}, InvalidInput, "Machine type is not supported"),
    ],
)
def test_what_cannot_be_predicted_is_told_before_anything_is_started(
    server: VertexBatchServer,
    image: str,
    rows: list[dict[str, Any]],
    changes: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    with pytest.raises(kind, match=words):
        predict(server, asked(**{"image": image, **changes}))
    assert server.jobs == {}


def test_predictions_are_no_input_of_the_next_job(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]]
) -> None:
    request = asked(image, output="gs://data/in")
    first = predict(server, request)
    assert predict(server, request).job == first.job
    assert predict(server, replace(request, restart=True)).rows == 5
    with pytest.raises(InvalidInput, match="also names predictions of an earlier job"):
        predict(server, replace(request, inputs=("gs://data/in/**",)))


def test_data_that_only_the_service_may_read(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]]
) -> None:
    storage.denied = {"data", "out"}
    first = predict(server, asked(image))
    assert first.rows == 3  # without the folder, which nobody could look for
    assert predict(server, asked(image)).job == first.job
