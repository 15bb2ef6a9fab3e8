"""``lading batch-service``: its own door, asked over HTTP, with the real client of Cloud Storage."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from batch_runs import image_rows
from batch_server import ROW, BatchServer, Slow, content, put_tree
from fakes.storage_server import Storage
from listening import until

from lading.batch.service.openapi import document
from lading.batch.service.routes import find_route


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
        storage.put("cancel", f"in/{number}", image_rows(3, seed=number))
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
