"""``lading serve`` as a process, over HTTP."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from served import Served, serving

from lading.errors import EngineError
from lading.serving.listener import Listener
from lading.serving.port import reserve


@pytest.fixture(scope="module")
def served(mlp_model: Path, mixed_model: Path) -> Iterator[Served]:
    words = [f"fashion={mlp_model}", f"mixed={mixed_model}", "--port", "0"]
    with serving(*words, K_REVISION="fashion-1", LADING_MODEL_DIFF_ID="sha256:abc") as made:
        yield made


IMAGE = [[0.5] * 28] * 28


def test_rows_and_columns(served: Served) -> None:
    rows = served.post("/v1/models/fashion:predict", {"instances": [IMAGE, IMAGE]})
    columns = served.post("/v1/models/fashion/versions/1:predict", {"inputs": {"image": [IMAGE, IMAGE]}})
    assert rows.headers["content-type"] == "application/json"
    assert rows.json()["predictions"] == columns.json()["outputs"]
    assert [len(row) for row in rows.json()["predictions"]] == [10, 10]
    assert sum(rows.json()["predictions"][0]) == pytest.approx(1, abs=1e-5)


def test_a_signature_by_name(served: Served) -> None:
    answer = served.post("/v1/models/mixed:predict", {"signature_name": "same", "instances": ["a", "ü"]})
    assert answer.json() == {"predictions": ["a", "ü"]}


def test_every_answer_names_revision_and_model(served: Served) -> None:
    for answer in (served.get("/"), served.get("/v1/models/nope"), served.post("/v1/models/fashion:predict", {})):
        assert answer.headers["x-lading-revision"] == "fashion-1"
        assert answer.headers["x-lading-model"] == "sha256:abc"


def test_status_and_metadata(served: Served) -> None:
    status = served.get("/v1/models/fashion").json()
    (version,) = status["model_version_status"]
    assert version == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    metadata = served.get("/v1/models/fashion/metadata").json()
    assert metadata["model_spec"] == {"name": "fashion", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "28", "28"]


def test_health(served: Served) -> None:
    assert served.get("/v2/health/live").json() == {"live": True}
    assert served.get("/v2/health/ready").json()["ready"] is True
    assert served.get("/").json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/fashion:predict", b"{", 400, "JSON Parse error"),
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/fashion/versions/9:predict", {"instances": [1]}, 404, "Specific(fashion, 9)"),
        ("/v1/models/nope:predict", b"{", 400, "JSON Parse error"),
        ("/v1/models/fashion:predict", {"instances": [[1.0]]}, 400, ""),
        ("/v1/models/fashion:predict", {"signature_name": "x", "instances": [1]}, 400, 'signature name: "x" not found'),
        ("/v1/models/fashion:explode", {}, 400, "Malformed request: POST /v1/models/fashion:explode"),
        ("/v1/models/fashion:predict?x=1", {}, 400, "Malformed request"),
        ("/elsewhere", {}, 404, "Not found"),
    ],
)
def test_errors_have_the_status_and_words_of_tensorflow_serving(
    served: Served, path: str, body: Any, status: int, message: str
) -> None:
    answer = served.post(path, body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_a_body_beyond_the_limit_is_refused_and_the_server_lives_on(served: Served) -> None:
    answer = served.post("/v1/models/fashion:predict", b" " * (33 << 20))
    assert (answer.status_code, "33554432 bytes" in answer.json()["error"]) == (413, True)
    assert served.get("/v2/health/ready").ok


def test_a_long_prediction_holds_up_nobody(served: Served) -> None:
    slow = threading.Thread(
        target=served.post,
        args=("/v1/models/mixed:predict", {"signature_name": "spin", "inputs": 60_000}),
    )
    slow.start()
    time.sleep(0.2)
    asked = 0
    while slow.is_alive() and asked < 20:
        assert served.get("/v2/health/ready").ok
        asked += slow.is_alive()
    assert asked >= 5, "the prediction ended too early to tell"
    slow.join()


def test_a_model_whose_time_hangs_on_the_request_never_comes_to_the_event_loop(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--timeout", "1", PORT="0") as served:
        path = "/v1/models/mixed:predict"
        for _ in range(40):
            assert served.post(path, {"signature_name": "spin", "inputs": 1}).ok
        endless = {"signature_name": "spin", "inputs": 2**60}
        callers = [threading.Thread(target=served.post, args=(path, endless)) for _ in range(2 * (os.cpu_count() or 1))]
        for caller in callers:
            caller.start()
        assert served.get("/v2/health/ready").ok
        answer = served.post(path, endless)
        assert (answer.status_code, list(answer.json())) == (504, ["error"])
        for caller in callers:
            caller.join()
        assert served.post(path, {"signature_name": "spin", "inputs": 1}).ok


def test_a_stopped_server_ends_what_it_is_answering(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0") as served:
        answers: list[requests.Response] = []
        body = {"signature_name": "spin", "inputs": 60_000}
        caller = threading.Thread(target=lambda: answers.append(served.post("/v1/models/mixed:predict", body)))
        caller.start()
        time.sleep(0.3)
        assert caller.is_alive(), "the prediction ended too early to tell"
        served.process.send_signal(signal.SIGTERM)
        caller.join()
        assert served.process.wait(15) == 0
        assert answers[0].json() == {"outputs": 60_000}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(mlp_model: Path, number: signal.Signals) -> None:
    with serving(f"m={mlp_model}", "--port", "0") as served, requests.Session() as idle:
        idle.get(served.url, timeout=5)
        served.process.send_signal(number)
        assert served.process.wait(5) == 0


def test_the_log_is_json_and_tells_what_happened(served: Served) -> None:
    said = [line["message"] for line in served.lines[:4]]
    assert said == ["starting", "model loaded", "model loaded", "listening"]
    assert {line["severity"] for line in served.lines[:4]} == {"INFO"}
    (fashion,) = [line for line in served.lines if line.get("model") == "fashion"]
    assert fashion["warm_up_seconds"] is not None


@pytest.mark.parametrize(
    ("environ", "words", "expected"),
    [({"PORT": "A"}, [], "A"), ({"PORT": "1", "AIP_HTTP_PORT": "A"}, [], "A"), ({"PORT": "1"}, ["--port", "A"], "A")],
)
def test_the_port_comes_from_flag_vertex_or_knative(
    mlp_model: Path, environ: dict[str, str], words: list[str], expected: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    fill = {name: value.replace("A", port) for name, value in environ.items()}
    with serving(f"m={mlp_model}", *[word.replace("A", port) for word in words], **fill) as served:
        assert served.url.endswith(f":{port}")
        assert served.get("/").ok


def ends(*words: str, **environ: str) -> tuple[int, str]:
    """Exit code and last line of a server that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "lading", "serve", *words],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environ}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_port_in_use_is_named(mlp_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = ends(f"m={mlp_model}", "--host", "127.0.0.1", "--port", str(port))
    assert code == 3
    assert re.search(rf"port {port} on 127.0.0.1 is in use .* choose another port with --port", said)


def test_a_port_that_another_took_meanwhile_is_named() -> None:
    app: Any = None
    with reserve("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with reserve("127.0.0.1", port) as second:  # as long as nobody listens both may be bound
            first.listen()
            with pytest.raises(EngineError, match=f"port {port} on 127.0.0.1 is in use by another process"):
                Listener(app, said={}, most_connections=1).start(second)


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    code, said = ends(f"taxi={tmp_path}", "--port", "0")
    assert code == 3
    assert f"cannot serve the model taxi: expected a SavedModel at {tmp_path}" in said


def test_all_problems_of_a_command_are_named_together() -> None:
    code, said = ends("a", "b=1", "b=2", PORT="80a")
    assert code == 2
    problems = [
        "'a': expected NAME=PATH",
        "'b=2': the name b is used twice",
        "PORT='80a': expected a port number, 0 to 65535",
    ]
    assert said == "lading: " + "; ".join(problems)


def test_a_command_without_a_model_says_how_to_name_one() -> None:
    code, said = ends(AIP_STORAGE_URI="")
    assert code == 2
    assert "expected NAME=PATH, --model-config-file, or AIP_STORAGE_URI" in said


def test_vertex_names_the_model_by_its_directory(mlp_model: Path) -> None:
    routes = {"AIP_HEALTH_ROUTE": "/health", "AIP_PREDICT_ROUTE": "/predict"}
    with serving(AIP_HTTP_PORT="0", AIP_STORAGE_URI=str(mlp_model), **routes) as served:
        assert served.get("/health").ok
        assert len(served.post("/predict", {"instances": [IMAGE]}).json()["predictions"]) == 1


def test_grpc_and_http_never_share_a_port(mlp_model: Path) -> None:
    code, said = ends(f"m={mlp_model}", "--port", "9000", "--grpc-port", "9000")
    assert (code, "--grpc-port instead" in said) == (2, True)


def test_the_process_holds_no_more_than_it_needs(mlp_model: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "lading", "serve", f"m={mlp_model}", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    imported = set()
    for line in process.stderr:
        if line.startswith("import time:"):
            imported.add(line.rpartition("|")[2].strip().partition(".")[0])
        elif '"listening"' in line:
            break
    process.terminate()
    process.communicate(timeout=20)
    assert "httptools" in imported
    assert not imported & {"tensorflow", "requests", "jinja2", "kfp", "google.cloud", "grpc"}
