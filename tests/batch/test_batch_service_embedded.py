"""``lading batch-service`` as embedded-tf's callers ask it, with the real client of Cloud Storage."""

import json

import numpy as np
import pytest
from batch_runs import image_rows, images_of
from batch_server import ROW, BatchServer, content
from fakes.storage_server import Storage

from lading.batch.model import OpenModel


def test_a_caller_of_embedded_tf_gets_its_tree(service: BatchServer, storage: Storage, mlp: OpenModel) -> None:
    storage.put("tree", "in/2026/a.jsonl", image_rows(20))
    storage.put("tree", "in/b.csv", image_rows(5, seed=1))  # every name holds JSON Lines
    storage.put("tree", "in/empty/", b"")
    done = service.embedded(model="gs://models/mlp", input="gs://tree/in/", output="gs://tree/out")
    assert (done.status_code, done.text) == (200, "predictions completed")
    found = content(storage, "tree", "out")
    assert found.keys() == {"out/2026/a.jsonl", "out/b.csv"}
    images = images_of(20).astype(np.float32)
    expected = mlp.model.predict({"image": images})["softmax"]
    predicted = [json.loads(line) for line in found["out/2026/a.jsonl"].splitlines()]
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-7)
    assert found["out/b.csv"].endswith(b"]\n")


def test_an_input_without_a_slash_is_the_beginning_of_names(service: BatchServer, storage: Storage) -> None:
    for name in ("d[1]/part-1", "d[1]/part-2/x", "d[1]/other", "part-3"):
        storage.put("starts", name, ROW)
    done = service.embedded(model="gs://models/mlp/", input="gs://starts/d[1]/part", output="gs://starts/o/")
    assert done.status_code == 200
    assert content(storage, "starts", "o").keys() == {"o/part-1", "o/part-2/x"}
    done = service.embedded(model="gs://models/mlp/", input="gs://starts/part-3", output="gs://starts/o/")
    assert content(storage, "starts", "o").keys() == {"o/part-1", "o/part-2/x", "o/part-3"}, "earlier files stay"


def test_no_match_is_a_success(service: BatchServer, storage: Storage) -> None:
    storage.put("bare", "x", b"")
    done = service.embedded(model="gs://models/mlp", input="gs://bare/none/", output="gs://bare/o")
    assert (done.status_code, done.text) == (200, "predictions completed")
    assert content(storage, "bare").keys() == {"x"}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "Query Param 'model' is missing"),
        ("?output=x&input=y", "Query Param 'model' is missing"),
        ("?model=&model=gs://b/m", "Query Param 'model' is missing"),
        ("?model=b/m", "'model' bad formatted: location must start with 'gs://'"),
        ("?model=gs://b/m&output=o", "Query Param 'input' is missing"),
        ("?model=gs://b/m&input=i&output=o", "'input' bad formatted: location must start with 'gs://'"),
        ("?model=gs%3A%2F%2Fb%2Fm&input=gs://b/i", "Query Param 'output' is missing"),
        ("?model=gs://b/m&input=gs://b/i&output=s3://b/o", "'output' bad formatted: location must start with 'gs://'"),
        (
            "?model=gs://b/m&input=gs://b&output=gs://b/o",
            "'input' bad formatted: location must have a bucket and a slash",
        ),
        ("?model=gs://b/m&input=gs://b/d/i&output=gs://b/d/", "'output' bad formatted: location must differ from"),
    ],
)
def test_a_query_that_is_none(service: BatchServer, query: str, text: str) -> None:
    answer = service.ask("GET", f"/{query}")
    assert answer.status_code == 400
    assert answer.text.startswith(text)


def test_only_get_and_only_the_root(service: BatchServer) -> None:
    assert service.ask("POST", "/").status_code == 405
    assert service.ask("GET", "/other").status_code == 404


def test_a_bad_row_fails_and_files_done_before_stay(service: BatchServer, storage: Storage) -> None:
    storage.put("bad", "in/a", ROW)
    storage.put("bad", "in/b", ROW + b"nonsense\n")
    query = {"model": "gs://models/mlp", "input": "gs://bad/in/", "output": "gs://bad/o"}
    failed = service.embedded(**query)
    assert (failed.status_code, failed.text) == (500, "error when making predictions")
    assert content(storage, "bad", "o").keys() == {"o/a"}
    run = service.get(failed.headers["x-lading-batch"])
    assert (run["state"], run["report"]["bad_rows"]) == ("rejected", 1)
    storage.put("bad", "in/b", ROW)
    assert service.embedded(**query).status_code == 200
    assert content(storage, "bad", "o").keys() == {"o/a", "o/b"}


def test_what_fails_has_embedded_tfs_texts(service: BatchServer, storage: Storage) -> None:
    storage.put("texts", "in/a", ROW)
    storage.put("models", "broken/saved_model.pb", b"nonsense")
    where = {"input": "gs://texts/in/", "output": "gs://texts/o"}
    missing = service.embedded(model="gs://models/nothing", **where)
    assert (missing.status_code, missing.text) == (500, "error when downloading model files")
    broken = service.embedded(model="gs://models/broken", **where)
    assert (broken.status_code, broken.text) == (500, "error when starting tensorflow")
    nowhere = service.embedded(model="gs://models/mlp", input="gs://no-bucket/x", output="gs://texts/o")
    assert (nowhere.status_code, nowhere.text) == (500, "error when making predictions")
    logged = [line["error"] for line in service.lines if line["message"] == "batch request refused"]
    assert any("gs://models/nothing" in error for error in logged), "the log says more"
