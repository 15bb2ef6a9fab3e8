"""``lading batch-service`` as a process: its doors, asked over HTTP, with the real client of Cloud Storage."""

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from batch_server import BatchServer, batch_service, until
from fakes.storage_faults import Fault
from fakes.storage_server import Storage

from lading.batch.model import OpenModel, open_model
from lading.batch.service.openapi import document
from lading.batch.service.routes import find_route

ROW = json.dumps(np.arange(784).reshape(28, 28).tolist()).encode() + b"\n"


def rows(count: int, seed: int = 0) -> bytes:
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28))
    return b"".join(json.dumps(image.tolist()).encode() + b"\n" for image in images)


def put_tree(storage: Storage, directory: Path, name: str) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            storage.put("models", f"{name}/{path.relative_to(directory).as_posix()}", path.read_bytes())


@pytest.fixture(scope="module")
def storage(mlp_model: Path, scale_versions: Path) -> Iterator[Storage]:
    made = Storage()
    put_tree(made, mlp_model, "mlp")
    put_tree(made, scale_versions / "1", "scale/1")
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(storage: Storage) -> Iterator[BatchServer]:
    with batch_service("--max-runs", "4", STORAGE_EMULATOR_HOST=storage.url) as made:
        yield made


@pytest.fixture(scope="module")
def mlp(mlp_model: Path) -> Iterator[OpenModel]:
    with open_model(str(mlp_model), environ={}) as opened:
        yield opened


def content(storage: Storage, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """What is in a bucket, by name."""
    return {name: blob.content for name, blob in storage.buckets[bucket].items() if name.startswith(prefix)}


class Slow:
    """While it lasts reading some objects takes long."""

    def __init__(self, storage: Storage, name: str, seconds: float = 0.3) -> None:
        self.storage = storage
        self.fault = Fault("GET", f"/download/storage/v1/b/{name}", times=10**6, seconds=seconds)

    def __enter__(self) -> "Slow":
        self.storage.faults.append(self.fault)
        return self

    def __exit__(self, *_: object) -> None:
        self.storage.faults.remove(self.fault)


# embedded-tf's door


def test_a_caller_of_embedded_tf_gets_its_tree(service: BatchServer, storage: Storage, mlp: OpenModel) -> None:
    storage.put("tree", "in/2026/a.jsonl", rows(20))
    storage.put("tree", "in/b.csv", rows(5, seed=1))  # every name holds JSON Lines
    storage.put("tree", "in/empty/", b"")
    done = service.embedded(model="gs://models/mlp", input="gs://tree/in/", output="gs://tree/out")
    assert (done.status_code, done.text) == (200, "predictions completed")
    found = content(storage, "tree", "out")
    assert found.keys() == {"out/2026/a.jsonl", "out/b.csv"}
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.float32)
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


# The door of its own


def test_a_run_is_followed_to_its_report(service: BatchServer, storage: Storage) -> None:
    storage.put("own", "in/a.jsonl", ROW * 30 + b"nonsense\n")
    body = {"model": "gs://models/mlp", "input": ["gs://own/in/*.jsonl"], "output": "gs://own/o", "max_bad_rows": 2}
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "x-request-id": "mine"}
    begun = service.begin(**body, batch_size=8, headers=trace)
    assert begun.status_code == 202
    run = service.ended(begun.json()["id"])
    assert begun.headers["location"] == f"/v1/batches/{run['id']}"
    assert (run["state"], run["report"]["rows"], run["report"]["bad_rows"]) == ("succeeded", 31, 1)
    assert (run["progress"]["share"], run["progress"]["rows"]) == (1.0, 31)
    assert run["request"]["batch_size"] == 8
    assert json.loads(content(storage, "own", "o/_lading/errors.jsonl").popitem()[1])["row"] == 31
    assert run["id"] in [listed["id"] for listed in service.ask("GET", "/v1/batches?state=succeeded").json()["batches"]]
    line = service.logged("batch run ended", batch=run["id"])
    assert (line["rows"], line["state"], line["request_id"]) == (31, "succeeded", "mine")
    assert line["logging.googleapis.com/trace"] == "a" * 32
    rejected = service.begin(**{**body, "max_bad_rows": 0, "output": "gs://own/o2"})
    assert service.ended(rejected.json()["id"])["state"] == "rejected"


def test_a_request_that_cannot_be_is_refused_at_once(service: BatchServer) -> None:
    body = {"model": "gs://models/mlp", "input": "gs://own/in/", "output": "gs://own/o"}
    unknown = service.begin(**body, batchsize=3)
    assert (unknown.status_code, "no such member: batchsize" in unknown.json()["error"]) == (400, True)
    assert service.begin(**{**body, "model": "gs://models/nothing"}).status_code == 400
    assert service.begin(**{**body, "output": "/tmp/here"}).status_code == 403
    large = service.begin(**body, max_line_bytes=2**40)
    assert large.status_code == 413
    assert "MiB for its blocks" in large.json()["error"]
    assert service.ask("GET", "/v1/batches/unknown").status_code == 404
    long = service.ask("POST", "/v1/batches", data=b'"' + b"x" * (5 << 20))
    assert long.status_code == 413


def test_a_run_that_fails_says_why(service: BatchServer, storage: Storage) -> None:
    run = service.begin(model="gs://models/mlp", input="gs://own/nothing/", output="gs://own/o3").json()
    ended = service.ended(run["id"])
    assert ended["state"] == "failed"
    assert "no input at gs://own/nothing/" in ended["error"]


def test_the_same_request_is_the_same_run_while_it_runs(service: BatchServer, storage: Storage) -> None:
    for number in range(8):
        storage.put("same", f"in/{number}", ROW)
    body = {"model": "gs://models/mlp", "input": "gs://same/in/", "output": "gs://same/o"}
    with Slow(storage, "same"):
        first = service.begin(**body)
        assert service.begin(**body).json()["id"] == first.json()["id"]
        keyed = {**body, "output": "gs://same/o2", "headers": {"Idempotency-Key": "k1"}}
        second = service.begin(**keyed)
        with ThreadPoolExecutor(2) as pool:  # two callers of the same: one run, two answers
            query = {"model": "gs://models/mlp", "input": "gs://same/in/", "output": "gs://same/o4"}
            answers = [pool.submit(service.embedded, **query) for _ in range(2)]
            got = [answer.result() for answer in answers]
        assert [answer.text for answer in got] == 2 * ["predictions completed"]
        assert len({answer.headers["x-lading-batch"] for answer in got}) == 1
    service.ended(second.json()["id"])
    assert service.begin(**keyed).json()["id"] == second.json()["id"]
    assert service.begin(**{**keyed, "output": "gs://same/o3"}).status_code == 409


def test_events_tell_the_progress_and_the_end(service: BatchServer, storage: Storage) -> None:
    for number in range(8):
        storage.put("events", f"in/{number}", ROW * 3)
    with Slow(storage, "events"):
        run = service.begin(model="gs://models/mlp", input="gs://events/in/", output="gs://events/o").json()
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as plain:
            plain.sendall(f"GET /v1/batches/{run['id']}/events HTTP/1.0\r\n\r\n".encode())
            text = b"".join(iter(lambda: plain.recv(65536), b"")).decode()
    head, _, body = text.partition("\r\n\r\n")
    assert "content-type: text/event-stream" in head
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in body.strip().split("\n\n")]
    assert [event.get("event") for event in events] == [None, *["progress"] * (len(events) - 2), "end"]
    seen = [json.loads(event["data"]) for event in events[1:]]
    assert seen[-1]["report"]["rows"] == 24
    shares = [one["progress"]["share"] for one in seen if one["progress"]]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)


def test_a_reader_of_events_that_goes_away_is_no_harm(service: BatchServer, storage: Storage) -> None:
    storage.put("away", "in/a", ROW)
    with Slow(storage, "away", seconds=2):
        run = service.begin(model="gs://models/mlp", input="gs://away/in/", output="gs://away/o").json()
        answer = requests.get(f"{service.url}/v1/batches/{run['id']}/events", stream=True, timeout=30)
        assert next(answer.iter_lines()) == b"retry: 2000"
        answer.close()
    assert service.ended(run["id"])["state"] == "succeeded"


def test_a_cancelled_run_can_be_gone_on_with(service: BatchServer, storage: Storage) -> None:
    for number in range(10):
        storage.put("cancel", f"in/{number}", rows(3, seed=number))
    body = {"model": "gs://models/mlp", "input": "gs://cancel/in/"}
    whole = service.begin(**body, output="gs://cancel/whole").json()
    with Slow(storage, "cancel"):
        run = service.begin(**body, output="gs://cancel/o").json()
        until(lambda: (service.get(run["id"])["progress"] or {"files_done": 0})["files_done"] >= 2)
        assert service.ask("DELETE", f"/v1/batches/{run['id']}").status_code in (200, 202)
        assert service.ended(run["id"])["state"] == "cancelled"
    assert 1 < len([name for name in content(storage, "cancel", "o/") if "_lading" not in name]) < 10
    again = service.begin(**body, output="gs://cancel/o").json()
    assert again["id"] != run["id"]
    assert service.ended(again["id"])["report"]["resumed"]
    assert service.ask("POST", f"/v1/batches/{again['id']}:cancel").json()["state"] == "succeeded"
    service.ended(whole["id"])
    for number in range(10):
        assert (
            content(storage, "cancel", f"o/{number}").popitem()[1]
            == content(storage, "cancel", f"whole/{number}").popitem()[1]
        )


def test_embedded_tfs_door_takes_over_what_another_request_left(service: BatchServer, storage: Storage) -> None:
    for number in range(6):
        storage.put("left", f"in/{number}", ROW)
    storage.put("left", "other/x", ROW)
    with Slow(storage, "left"):
        run = service.begin(model="gs://models/mlp", input="gs://left/in/", output="gs://left/o").json()
        until(lambda: "o/_lading/manifest.json" in storage.buckets["left"])
        service.ask("DELETE", f"/v1/batches/{run['id']}")
        assert service.ended(run["id"])["state"] == "cancelled"
    refused = service.begin(model="gs://models/mlp", input="gs://left/other/", output="gs://left/o").json()
    assert "unfinished run that differs" in service.ended(refused["id"])["error"]
    done = service.embedded(model="gs://models/mlp", input="gs://left/other/", output="gs://left/o")
    assert done.text == "predictions completed"
    assert "o/x" in storage.buckets["left"]
    assert content(storage, "left", "o/_lading").keys() == set()


def test_a_model_that_changes_is_loaded_anew(service: BatchServer, storage: Storage, scale_versions: Path) -> None:
    storage.put("change", "in/a", b"1.5\n2\n")
    query = {"model": "gs://models/scale/1", "input": "gs://change/in/", "output": "gs://change/o"}
    loads = service.metric("lading_batch_model_loads_total")
    for _ in range(2):
        assert service.embedded(**query).status_code == 200
    assert content(storage, "change", "o")["o/a"] == b"1.5\n2.0\n"
    assert service.metric("lading_batch_model_loads_total") == loads + 1
    models = service.metric("lading_batch_models")
    put_tree(storage, scale_versions / "3", "scale/1")
    assert service.embedded(**query).status_code == 200
    assert content(storage, "change", "o")["o/a"] == b"4.5\n6.0\n"
    assert service.metric("lading_batch_model_loads_total") == loads + 2
    assert service.metric("lading_batch_models") == models


def test_what_tools_ask_every_container(service: BatchServer) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"):
        assert service.ask("GET", path).status_code == 200
    assert service.ask("HEAD", "/readyz").content == b""
    assert service.ask("PUT", "/v1/batches").headers["allow"] == "GET, POST"
    page = service.ask("GET", "/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'lading_batch_runs_total{state="succeeded"}' in page.text
    assert service.metric('lading_batch_memory_reserved_bytes{for="runs"}') == 0


def test_the_openapi_document_is_true(service: BatchServer) -> None:
    assert service.ask("GET", "/openapi.json").json() == document()
    for path, methods in document()["paths"].items():
        for method in methods:
            assert find_route(method.upper(), path.replace("{id}", "batch-1")).verb, f"{method} {path}"
        others = {"get", "post", "delete", "put"} - methods.keys()
        assert not any(find_route(method.upper(), path.replace("{id}", "batch-1")).verb for method in others)
    schema = document()["paths"]["/v1/batches"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    bodies: dict[str, Any] = {"model": "gs://b/m", "input": ["gs://b/i"], "output": "gs://b/o", "batch_size": 3}
    assert bodies.keys() <= schema["properties"].keys()


# Limits and the end


def test_who_comes_too_many_is_told_to_come_again(storage: Storage) -> None:
    for number in range(6):
        storage.put("load", f"in/{number}", ROW)
    with (
        batch_service("--max-runs", "1", "--max-queue", "1", STORAGE_EMULATOR_HOST=storage.url) as service,
        Slow(storage, "load"),
    ):
        body = {"model": "gs://models/mlp", "input": "gs://load/in/"}
        running = service.begin(**body, output="gs://load/o1").json()
        waiting = service.begin(**body, output="gs://load/o2").json()
        assert (running["state"], waiting["state"]) == ("running", "queued")
        for refused in (
            service.begin(**body, output="gs://load/o3"),
            service.embedded(**body, output="gs://load/o3"),
        ):
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        assert [service.ended(run["id"])["state"] for run in (running, waiting)] == 2 * ["succeeded"]


def test_a_list_of_places_holds_over_http(storage: Storage) -> None:
    words = ("--allow-read", "gs://models", "--allow-read", "gs://places/in", "--allow-write", "gs://places/o")
    storage.put("places", "in/a", ROW)
    storage.put("places", "in-secret/a", ROW)
    with batch_service(*words, STORAGE_EMULATOR_HOST=storage.url) as service:
        good = {"model": "gs://models/mlp", "input": "gs://places/in/", "output": "gs://places/o"}
        for name, place in {"input": "gs://places/in", "output": "gs://places/other", "model": "gs://load/m"}.items():
            refused = service.embedded(**{**good, name: place})
            assert refused.status_code == 403, name
            assert place in refused.text
        for name, place in {
            "input": "gs://places/in*/a",
            "output": "gs://places/o/../in",
            "errors": "gs://x/e",
        }.items():
            assert service.begin(**{**good, name: place}).status_code == 403, name
        assert service.embedded(**good).status_code == 200


def test_a_killed_service_goes_on_where_it_was(mlp_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / f"in/{number}.jsonl").write_bytes(rows(50, seed=number) * 100)
    body = {"model": str(mlp_model), "input": f"{tmp_path}/in/", "shard_bytes": 1 << 20, "batch_size": 128}
    words = ("--allow", str(tmp_path), "--allow-read", str(mlp_model))
    with batch_service(*words) as service:
        whole = service.ended(service.begin(**body, output=f"{tmp_path}/whole").json()["id"])
        assert whole["report"]["rows"] == 20000
        run = service.begin(**body, output=f"{tmp_path}/o").json()
        until(lambda: (service.get(run["id"])["progress"] or {"bytes_done": 0})["bytes_done"] > 3 << 20)
        service.process.kill()
        service.process.wait()
    assert not (tmp_path / "o/3.jsonl").exists()
    with batch_service(*words) as service:
        again = service.ended(service.begin(**body, output=f"{tmp_path}/o").json()["id"])
        assert again["report"]["resumed"]
        assert again["report"]["rows"] == 20000
    for number in range(4):
        name = f"{number}.jsonl"
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_signal_ends_runs_at_a_block_and_answers_who_waits(storage: Storage) -> None:
    for number in range(40):
        storage.put("signal", f"in/{number}", rows(2, seed=number))
    query = {"model": "gs://models/mlp", "input": "gs://signal/in/", "output": "gs://signal/o"}
    with Slow(storage, "signal"), batch_service(STORAGE_EMULATOR_HOST=storage.url) as service:
        answers: list[requests.Response] = []
        waiting = threading.Thread(target=lambda: answers.append(service.embedded(**query)))
        waiting.start()
        until(lambda: "o/1" in storage.buckets["signal"])
        run = service.ask("GET", "/v1/batches").json()["batches"][0]
        follower = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        follower.request("GET", f"/v1/batches/{run['id']}/events")
        events = follower.getresponse()
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        waiting.join()
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (503, "10")
        assert "Ask again: what was done is not done again" in answers[0].text
        assert b"event: end" in events.read()
        follower.close()
        assert service.process.wait(20) == 0
        assert time.monotonic() - started < 15
        until(lambda: service.lines[-1]["message"] == "stopped")
    done = len([name for name in content(storage, "signal", "o/") if "_lading" not in name])
    assert done < 40
    with batch_service(STORAGE_EMULATOR_HOST=storage.url) as service:
        answer = service.embedded(**query)
        assert (answer.status_code, answer.text) == (200, "predictions completed")
        assert service.get(answer.headers["x-lading-batch"])["report"]["resumed"]
    assert content(storage, "signal", "o/").keys() == {f"o/{number}" for number in range(40)}


def test_the_port_is_the_platforms_unless_told(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with batch_service(PORT=str(port)) as service:
        assert service.port == port
        with batch_service("--port", "0", PORT=str(port)) as other:
            assert other.ask("GET", "/livez").status_code == 200
