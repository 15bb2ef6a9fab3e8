"""``lading batch-service``: what it may do, what it refuses, and how it ends; each with a process of its own."""

import http.client
import signal
import socket
import threading
import time
from pathlib import Path

import requests
from batch_runs import image_rows
from batch_server import ROW, Slow, batch_service, content
from fakes.storage_server import Storage
from listening import until


def test_who_comes_too_many_is_told_to_come_again(storage: Storage) -> None:
    for number in range(3):
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
        (tmp_path / f"in/{number}.jsonl").write_bytes(image_rows(50, seed=number) * 200)
    body = {"model": str(mlp_model), "input": f"{tmp_path}/in/", "shard_bytes": 1 << 20, "batch_size": 128}
    words = ("--allow", str(tmp_path), "--allow-read", str(mlp_model))
    with batch_service(*words) as service:
        whole = service.ended(service.begin(**body, output=f"{tmp_path}/whole").json()["id"])
        assert whole["report"]["rows"] == 40000
        run = service.begin(**body, output=f"{tmp_path}/o").json()
        until(lambda: (service.get(run["id"])["progress"] or {"bytes_done": 0})["bytes_done"] > 3 << 20)
        service.process.kill()
        service.process.wait()
    assert not (tmp_path / "o/3.jsonl").exists()
    with batch_service(*words) as service:
        again = service.ended(service.begin(**body, output=f"{tmp_path}/o").json()["id"])
        assert again["report"]["resumed"]
        assert again["report"]["rows"] == 40000
    for number in range(4):
        name = f"{number}.jsonl"
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_signal_ends_runs_at_a_block_and_answers_who_waits(storage: Storage) -> None:
    for number in range(40):
        storage.put("signal", f"in/{number}", image_rows(2, seed=number))
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
