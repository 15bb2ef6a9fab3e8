"""Batch prediction jobs through Google's own client, against a server of the API that really runs the model's image."""

import base64
import csv
import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.storage_server import Storage
from fakes.vertex_jobs import VertexBatchServer
from fakes.vertex_registry import NUMBER, PROJECT
from vertex_asking import KEY, REGION, asked, lines, predict, upload, written

from lading.batches import VertexBatchReport
from lading.cli import main
from lading.errors import (
    InvalidInput,
    NotFound,
)
from lading.results import verdict_from_json
from lading.values import GoldenRequest, from_json, to_json


def test_rows_of_a_tree_are_predicted_by_the_image(
    server: VertexBatchServer, storage: Storage, image: str, rows: list[dict[str, Any]]
) -> None:
    told: list[str] = []
    report = predict(server, asked(image), tell=told.append)
    assert report.passed
    assert (report.rows, report.bad_rows, report.successful, report.state) == (5, 0, 5, "SUCCEEDED")
    assert report.output.startswith("gs://out/predicted/prediction-tiny-batch-")
    assert written(storage, report) == [{"instance": row, "prediction": [0.25, 0.75]} for row in rows]
    assert written(storage, report, "errors_stats") == []
    assert report.model == f"projects/{NUMBER}/locations/{REGION}/models/tiny-batch@1"
    assert report.image == image
    (sent,) = server.jobs.values()
    assert report.job == sent["name"]
    assert sent["inputConfig"]["gcsSource"]["uris"] == ["gs://data/in/*", "gs://data/in/more/*"]
    number = report.job.rpartition("/")[2]
    assert report.url == (
        f"https://console.cloud.google.com/vertex-ai/locations/{REGION}/batch-predictions/{number}?project={PROJECT}"
    )
    assert told[0] == f"uploading {image} as a version of the model tiny-batch"
    assert told[1] == f"job {number}: {report.url}"
    assert told[-1] == f"job {number}: SUCCEEDED: 5 predicted"
    assert from_json(to_json(report), VertexBatchReport) == report == verdict_from_json(to_json(report))


def test_a_model_on_our_server_predicts_as_its_golden_requests_say(
    server: VertexBatchServer, storage: Storage, mlp_model: Path, tmp_path: Path
) -> None:
    from lading.package import package_image

    packaged = package_image(mlp_model, "lading.local/mlp", environ={"XDG_STATE_HOME": str(tmp_path)})
    golden = GoldenRequest.read_all((mlp_model / "assets.extra/lading/golden.jsonl").read_text())[:6]
    instances = [{"row": number, "image": one.request["image"][0]} for number, one in enumerate(golden)]
    storage.put("data", "in/rows.jsonl", lines([*instances[:3], {"row": 99, "image": [1, 2]}, *instances[3:]]))
    options = {"key_field": "row", "batch_size": 1}
    report = predict(server, asked(packaged.image, options=options, max_bad_rows="1"))
    assert report.passed, report.checks
    assert (report.rows, report.bad_rows, report.state) == (7, 1, "PARTIALLY_SUCCEEDED")
    for line, one in zip(written(storage, report), golden, strict=True):
        assert line.keys() == {"key", "prediction"}
        assert line["prediction"] == pytest.approx(one.response["softmax"][0], rel=1e-3, abs=1e-5)
    (bad,) = written(storage, report, "errors_stats")
    assert bad["key"] == 99
    assert bad["error"]["code"] == 3
    assert report.problems == (bad["error"]["message"],)


def test_every_setting_reaches_the_job(server: VertexBatchServer, image: str, rows: list[dict[str, Any]]) -> None:
    options = {
        "machine_type": "n1-highmem-8",
        "starting_replicas": 2,
        "max_replicas": 4,
        "batch_size": 2,
        "excluded_fields": ("y",),
        "service_account": "batch@p.iam.gserviceaccount.com",
        "labels": {"team": "taxi"},
        "encryption_key": KEY,
    }
    predict(server, asked(image, options=options, model_name="taxi-rows"))
    (sent,) = server.jobs.values()
    assert sent["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-highmem-8"}, "startingReplicaCount": 2, "maxReplicaCount": 4,
    }  # fmt: skip
    assert sent["manualBatchTuningParameters"] == {"batchSize": 2}
    assert sent["instanceConfig"] == {"excludedFields": ["y"]}
    assert sent["serviceAccount"] == "batch@p.iam.gserviceaccount.com"
    assert sent["labels"]["team"] == "taxi"
    assert sent["encryptionSpec"] == {"kmsKeyName": KEY}
    assert sent["model"].endswith("/models/taxi-rows")
    assert [len(one["instances"]) for one in server.requests] == [2, 2, 1]
    assert server.requests[0]["instances"][0] == {"id": "r0", "x": 0.0}


def record(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + bytes(4) + data + bytes(4)


def test_formats_reach_the_model_as_vertex_has_them(server: VertexBatchServer, storage: Storage, image: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["id", "x", "y"], ["a", 1, 2], ["b", 3, 4]])
    storage.put("data", "rows.csv", text.getvalue().encode())
    storage.put("data", "rows.tfrecord", record(b"one") + record(b"two"))
    storage.put("data", "list.txt", b"gs://data/rows.csv\n")
    server.tables["p.d.t"] = [{"id": "a", "x": 1.0}]

    def sent(uri: str, format: str, **options: Any) -> list[Any]:
        server.requests.clear()
        options = {"input_format": format, **options}
        report = predict(server, asked(image, inputs=(uri,), options=options))
        assert report.passed
        return [instance for request in server.requests for instance in request["instances"]]

    assert sent("gs://data/rows.csv", "csv", key_field="id") == [[1.0, 2.0], [3.0, 4.0]]
    assert sent("gs://data/*.tfrecord", "tf-record") == [{"b64": "b25l"}, {"b64": "dHdv"}]
    whole = base64.b64encode(text.getvalue().encode()).decode()
    assert sent("gs://data/list.txt", "file-list") == [{"b64": whole}]
    assert sent("bq://p.d.t", "bigquery", instance_type="object", included_fields=("x",)) == [{"x": 1.0}]


def test_predictions_go_to_a_table(server: VertexBatchServer, image: str, rows: list[dict[str, Any]]) -> None:
    report = predict(server, asked(image, output="bq://p.scores"))
    (name,) = server.tables
    assert report.output == f"bq://{name}"
    assert len(server.tables[name]) == 5
    table = name.removeprefix("p.scores.")
    assert report.job_metadata() == {
        "resourceName": report.job, "bigqueryOutputDataset": "bq://p.scores", "bigqueryOutputTable": table,
    }  # fmt: skip


def test_a_model_is_pinned_to_its_version(server: VertexBatchServer, image: str, rows: list[dict[str, Any]]) -> None:
    model = upload(server, image)
    options = {"accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1}
    report = predict(server, asked(model=model, options=options))
    assert report.model == f"projects/{NUMBER}/locations/{REGION}/models/own@1"
    assert report.image == ""
    (sent,) = server.jobs.values()
    assert sent["dedicatedResources"]["machineSpec"]["acceleratorCount"] == 1
    explained = upload(server, image, "explained", explanationSpec={"parameters": {"topK": 1}})
    assert predict(server, asked(model=explained, options={"generate_explanation": True})).passed
    with pytest.raises(InvalidInput, match="was uploaded without an explanation spec"):
        predict(server, asked(model=model, options={"generate_explanation": True}))
    with pytest.raises(NotFound, match="has no model"):
        predict(server, asked(model=f"{model}@7"))


def test_the_command(
    server: VertexBatchServer, storage: Storage, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
) -> None:  # fmt: skip
    words = ["vertex-batch", "--image", image, "--project", PROJECT, "--region", REGION, "-i", "gs://data/in"]
    words += ["-o", "gs://out/predicted", "--label", "team=taxi", "--exclude", "y", "--batch-size", "2"]
    assert main([*words, "--report", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr()
    assert "5 of 5 rows predicted" in printed.out
    assert "SUCCEEDED: 5 predicted" in printed.err
    report = from_json((tmp_path / "report.json").read_text(), VertexBatchReport)
    assert report.output in printed.out
    storage.put("data", "in/broken.jsonl", b"{not json\n")
    assert main([*words, "--max-bad-rows", "0", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["bad_rows"] == 1
    assert main([*words, "--label", "team"]) == 2


@pytest.fixture
def run_component(
    server: VertexBatchServer, tmp_path: Path
) -> Iterator[Callable[..., tuple[Any, dict[str, dict[str, Any]]]]]:
    """Run the component as KFP does, in a process of its own; its parameters, and artifacts by name."""
    from kfp import dsl, local

    from components.vertex_batch_predict import vertex_batch_predict

    def run(**given: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
        @dsl.pipeline(name="predict")
        def pipeline() -> None:
            vertex_batch_predict(**given).set_caching_options(False)

        out = tmp_path / "runs"
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(out), raise_on_error=True)
        pipeline()
        (result,) = out.rglob("executor_output.json")
        body = json.loads(result.read_text())
        return body["parameterValues"], {name: one["artifacts"][0] for name, one in body["artifacts"].items()}

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.filterwarnings("ignore")  # of kfp.local
def test_the_component_links_the_job_and_its_predictions(
    server: VertexBatchServer,
    image: str,
    rows: list[dict[str, Any]],
    run_component: Callable[..., tuple[Any, dict[str, dict[str, Any]]]],
) -> None:
    from components.vertex_batch_predict import vertex_batch_predict

    values, artifacts = run_component(
        inputs="gs://data/in/a.jsonl\ngs://data/in/more/\n", output="gs://out/p", project=PROJECT, region=REGION,
        image=image, options='{"batch_size": 4}', run_id="run-1",
    )  # fmt: skip
    assert values == {"passed": True, "rows": 5, "bad_rows": 0}
    (sent,) = server.jobs.values()
    directory = sent["outputInfo"]["gcsOutputDirectory"]
    assert artifacts["predictions"]["uri"] == directory
    assert artifacts["job"]["uri"] == f"{server.url}/v1/{sent['name']}"
    assert artifacts["job"]["metadata"] == {"resourceName": sent["name"], "gcsOutputDirectory": directory}
    assert artifacts["metrics"]["metadata"]["rows"] == 5
    report = from_json(Path(artifacts["report"]["uri"]).read_text(), VertexBatchReport)
    assert report.job == sent["name"]
    page = Path(artifacts["page"]["uri"]).read_text()
    assert report.url in page.replace("&amp;", "&")
    assert "5 of 5 rows predicted" in page
    kinds = vertex_batch_predict.component_spec.outputs or {}
    assert kinds["job"].type == "google.VertexBatchPredictionJob@0.0.1"
