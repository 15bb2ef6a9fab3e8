"""The Open Inference Protocol over gRPC, and what holds for every gRPC service of the server."""

import base64
import concurrent.futures
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_server import Running, serving

from lading import __version__
from lading.errors import EngineError
from lading.predict import oip
from lading.predict.protos import message
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.grpc import start_grpc

SERVICE = "/inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def running(mixed_model: Path, half_plus_two_model: Path) -> Iterator[Running]:
    models = (ModelConfig("mixed", str(mixed_model)), ModelConfig("half", str(half_plus_two_model)))
    with serving(*models, revision="taxi-7", model_diff_id="sha256:ab", max_body_bytes=1 << 20) as started:
        yield started


def ask(running: Running, method: str, request: Any = None, **fields: Any) -> Any:
    request = message(f"inference.{method}Request")(**fields) if request is None else request
    return running.call(f"{SERVICE}/{method}", request, f"inference.{method}Response")


def infer(running: Running, model: str, *inputs: dict[str, Any], **fields: Any) -> Any:
    return ask(running, "ModelInfer", model_name=model, inputs=inputs, **fields)


def identity(datatype: str) -> str:
    names = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "string"}
    return f"identity_{names.get(datatype, datatype.lower())}"


def by_name(name: str) -> dict[str, Any]:
    return {"signature_name": message("inference.InferParameter")(string_param=name)}


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code().name, error.value.details()


def spin(rounds: int, **more: Any) -> Any:
    """A request that keeps the model busy for long."""
    contents = {"int64_contents": [rounds]}
    return message("inference.ModelInferRequest")(
        model_name="mixed",
        inputs=[{"name": "rounds", "datatype": "INT64", "shape": [], "contents": contents}],
        parameters=by_name("spin"),
        **more,
    )


def test_the_server_says_that_it_is_there(running: Running) -> None:
    assert ask(running, "ServerLive").live
    assert ask(running, "ServerReady").ready
    about = ask(running, "ServerMetadata")
    assert (about.name, about.version) == ("lading", __version__)


def test_a_model_is_described(running: Running) -> None:
    assert ask(running, "ModelReady", name="half").ready
    about = ask(running, "ModelMetadata", name="half")
    assert (about.name, list(about.versions), about.platform) == ("half", ["1"], "tensorflow_savedmodel")
    assert [(t.name, t.datatype, list(t.shape)) for t in about.inputs] == [("x", "FP32", [-1, 1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in about.outputs] == [("y", "FP32", [-1, 1])]


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-3, 4]),
        ("INT32", "int_contents", [-3, 4]),
        ("INT64", "int64_contents", [-(2**63), 4]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [3, 4]),
        ("UINT32", "uint_contents", [3, 4]),
        ("UINT64", "uint64_contents", [2**64 - 1, 4]),
        ("FP32", "fp32_contents", [0.5, float("inf")]),
        ("FP64", "fp64_contents", [0.1, -2.5]),
        ("BYTES", "bytes_contents", [b"\xff", b""]),
    ],
)
def test_typed_contents_come_back_typed(running: Running, datatype: str, field: str, values: list[Any]) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": [2, 1], "contents": {field: values}}
    answer = infer(running, "mixed", tensor, id="7", parameters=by_name(identity(datatype)))
    (output,) = answer.outputs
    assert (answer.model_name, answer.model_version, answer.id) == ("mixed", "1", "7")
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [2, 1])
    assert list(getattr(output.contents, field)) == values
    assert not answer.raw_output_contents


@pytest.mark.parametrize("datatype", oip.DATATYPES)
def test_raw_contents_come_back_raw(running: Running, datatype: str) -> None:
    array = np.array([b"a", b""], object) if datatype == "BYTES" else np.array([1, 0], oip.DATATYPES[datatype])
    tensor = {"name": "x", "datatype": datatype, "shape": [2]}
    answer = infer(
        running, "mixed", tensor, raw_input_contents=[oip.to_raw(array)], parameters=by_name(identity(datatype))
    )
    assert list(answer.raw_output_contents) == [oip.to_raw(array)]
    assert not answer.outputs[0].HasField("contents")


def test_outputs_are_chosen(running: Running) -> None:
    inputs = (
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}},
        {"name": "count", "datatype": "INT64", "shape": [1], "contents": {"int64_contents": [3]}},
        {"name": "text", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"a"]}},
    )
    answer = infer(running, "mixed", *inputs, outputs=[{"name": "text"}, {"name": "total"}])
    assert [output.name for output in answer.outputs] == ["text", "total"]
    assert list(answer.outputs[0].contents.bytes_contents) == [b"a-a"]
    assert list(answer.outputs[1].contents.fp32_contents) == [9]


X = {"name": "x", "datatype": "FP32", "shape": [1, 1], "contents": {"fp32_contents": [1]}}


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"model_name": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ({"model_version": "9"}, "NOT_FOUND", "Specific(half, 9)"),
        ({"model_version": "new"}, "INVALID_ARGUMENT", "expected a model version that is a number, received 'new'"),
        ({"inputs": []}, "INVALID_ARGUMENT", "takes the inputs x, received (none)"),
        ({"inputs": [X, X]}, "INVALID_ARGUMENT", 'the input "x" is given twice'),
        ({"inputs": [{**X, "datatype": "FP16"}]}, "INVALID_ARGUMENT", "FP16 is sent in raw_input_contents only"),
        ({"inputs": [{**X, "datatype": "BF16"}]}, "INVALID_ARGUMENT", "expected a datatype of BOOL"),
        ({"inputs": [{**X, "shape": [2, 1]}]}, "INVALID_ARGUMENT", "expected 2 elements for shape [2, 1], received 1"),
        ({"inputs": [{**X, "contents": {"fp64_contents": [1]}}]}, "INVALID_ARGUMENT", "expected 1 elements"),
        ({"raw_input_contents": [b"\0\0\0\0"]}, "INVALID_ARGUMENT", "contents must be empty"),
        ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "for 1 inputs, received 2"),
        ({"outputs": [{"name": "z"}]}, "INVALID_ARGUMENT", 'expected an output of y, received "z"'),
        ({"parameters": by_name("nope")}, "INVALID_ARGUMENT", "parameter signature_name: expected one of"),
    ],
)
def test_bad_requests_are_refused(running: Running, fields: dict[str, Any], code: str, text: str) -> None:
    given = {"model_name": "half", "inputs": [X], **fields}
    refusal = refused(lambda: ask(running, "ModelInfer", **given))
    assert refusal[0] == code
    assert text in refusal[1]


def test_an_unknown_model_is_not_just_unready(running: Running) -> None:
    for method in ("ModelReady", "ModelMetadata"):
        code, _ = refused(lambda method=method: ask(running, method, name="nope"))
        assert code == "NOT_FOUND"


def test_bytes_that_are_no_message_are_refused(running: Running) -> None:
    call = running.channel.unary_unary(f"{SERVICE}/ModelInfer")
    code, text = refused(lambda: call(b"\xff\xff", timeout=10))
    assert code == "INVALID_ARGUMENT"
    assert "no inference.ModelInferRequest" in text


def test_unknown_methods_are_unimplemented(running: Running) -> None:
    call = running.channel.unary_unary("/inference.GRPCInferenceService/Nope")
    assert refused(lambda: call(b"", timeout=10))[0] == "UNIMPLEMENTED"


def test_a_message_beyond_the_limit_is_refused(running: Running) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1 << 19]}
    request = message("inference.ModelInferRequest")(
        model_name="half", inputs=[tensor], raw_input_contents=[bytes(4 << 19)]
    )
    assert refused(lambda: ask(running, "ModelInfer", request))[0] == "RESOURCE_EXHAUSTED"
    assert ask(running, "ServerLive").live


def test_every_answer_names_the_revision(running: Running) -> None:
    expected = {("x-lading-revision", "taxi-7"), ("x-lading-model", "sha256:ab")}
    call = running.channel.unary_unary(f"{SERVICE}/ServerLive").with_call
    _, done = call(b"", timeout=10)
    assert {(item.key, item.value) for item in done.trailing_metadata()} >= expected
    with pytest.raises(grpc.RpcError) as error:
        running.channel.unary_unary(f"{SERVICE}/ModelMetadata")(b"", timeout=10)
    assert {(item.key, item.value) for item in error.value.trailing_metadata()} >= expected


def test_the_health_of_each_service_is_told(running: Running) -> None:
    def check(service: str) -> int:
        request = message("grpc.health.v1.HealthCheckRequest")(service=service)
        path = "/grpc.health.v1.Health/Check"
        return int(running.call(path, request, "grpc.health.v1.HealthCheckResponse").status)

    for service in ("", "PredictionService", "tensorflow.serving.ModelService", "inference.GRPCInferenceService"):
        assert check(service) == 1
    assert refused(lambda: check("nope"))[0] == "NOT_FOUND"


def test_a_busy_model_blocks_neither_health_nor_the_end_of_the_time_allowed(mixed_model: Path) -> None:
    with serving(ModelConfig("mixed", str(mixed_model)), threads=1, max_queue=1, timeout_seconds=0.2) as running:
        path, answer = f"{SERVICE}/ModelInfer", "inference.ModelInferResponse"
        slow = spin(100_000)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(lambda: refused(lambda: running.call(path, slow, answer))) for _ in range(3)]
            assert ask(running, "ServerLive").live
            codes = sorted(call.result()[0] for call in calls)
        # One runs, one waits, and the third finds no place.
        assert codes == ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "UNAVAILABLE"]
        page = running.records.metrics.render().decode()
        assert 'api="ModelInfer",entrypoint="GRPC",code="UNAVAILABLE"} 1' in page


def test_a_call_that_was_given_up_is_not_run(mixed_model: Path) -> None:
    with serving(ModelConfig("mixed", str(mixed_model)), threads=1, max_queue=4) as running:
        held = threading.Event()
        running.gate.submit(held.wait)
        call = running.channel.unary_unary(f"{SERVICE}/ModelInfer").future(spin(1).SerializeToString(), timeout=20)
        until(lambda: running.gate.queued == 1)
        call.cancel()
        until(lambda: running.gate.queued == 0)
        held.set()


def test_stopping_lets_running_calls_end_and_tells_those_who_watch(mixed_model: Path) -> None:
    with serving(ModelConfig("mixed", str(mixed_model)), timeout_seconds=60) as running:
        watch = running.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
        )(b"")
        assert next(watch).status == 1
        call = running.channel.unary_unary(f"{SERVICE}/ModelInfer").future(spin(30_000).SerializeToString(), timeout=60)
        until(lambda: running.gate.running == 1)
        running.server.stop(60)
        assert [state.status for state in watch] == [2]
        assert call.exception() is None
        assert refused(lambda: ask(running, "ServerLive"))[0] == "UNAVAILABLE"


def test_a_port_in_use_is_named(running: Running) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = ServeConfig(models=(), host="127.0.0.1", grpc_port=port)
        with pytest.raises(EngineError, match=f"port {port} of 127.0.0.1: is it in use"):
            start_grpc(running.models, config, running.records, running.gate)
    config = ServeConfig(models=(), host="127.0.0.1", grpc_port=running.server.port)
    with pytest.raises(EngineError, match=f"port {running.server.port} of"):
        start_grpc(running.models, config, running.records, running.gate)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_calls_are_in_the_log_and_in_the_request_log(
    half_plus_two_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, sample = ModelConfig("half", str(half_plus_two_model)), tmp_path / "sample"
    request = message("inference.ModelInferRequest")(
        model_name="half",
        inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 1], "contents": {"fp32_contents": [1.0]}}],
    )
    traced = (("x-request-id", "r1"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    with serving(model, access_log="all", request_log=sample, request_log_rate=1.0) as running:
        path = f"{SERVICE}/ModelInfer"
        running.call(path, request, "inference.ModelInferResponse", metadata=traced)
        request.model_version = "9" * 5000  # more digits than Python makes a number of
        assert refused(lambda: running.call(path, request, "inference.ModelInferResponse"))[0] == "INVALID_ARGUMENT"
        assert ask(running, "ServerLive").live  # runs no model: no line
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    calls = [line for line in lines if line["message"] == "request"]
    assert [(call["httpRequest"]["requestUrl"], call["httpRequest"]["status"]) for call in calls] == [
        (path, 200),
        (path, 400),
    ]
    assert calls[0]["request_id"] == "r1"
    assert calls[0]["logging.googleapis.com/trace"] == "a" * 32
    first, _ = (json.loads(line) for line in sample.read_text().splitlines())
    assert (first["model"], first["version"], first["path"], first["status"]) == ("half", 1, path, 200)
    assert first["request_id"] == "r1"
    assert b"half" in base64.b64decode(first["request_b64"])
