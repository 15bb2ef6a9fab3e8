"""The Open Inference Protocol over REST, with the binary tensor extension."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from served import Served, serving

INFER = "/v2/models/mixed/infer"
BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def served(mlp_model: Path, mixed_model: Path) -> Iterator[Served]:
    with serving(f"fashion={mlp_model}", f"mixed={mixed_model}", "--port", "0") as made:
        yield made


def tensor(datatype: str, data: Any, shape: list[int] | None = None, name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def ask(served: Served, kind: str, *inputs: dict[str, Any], **members: Any) -> requests.Response:
    return served.post(INFER, {"parameters": {"signature_name": kind}, "inputs": inputs, **members})


def binary(served: Served, head: dict[str, Any], tail: bytes, **headers: str) -> requests.Response:
    text = json.dumps(head).encode()
    length = {"inference-header-content-length": str(len(text))}
    return served.ask("POST", INFER, data=text + tail, headers={**BINARY, **length, **headers})


def test_who_serves(served: Served) -> None:
    about = served.get("/v2").json()
    assert (about["name"], about["extensions"]) == ("lading", ["binary_tensor_data"])
    assert served.get("/v2/models").json() == {"models": ["fashion", "mixed"]}


def test_what_a_model_takes_and_gives(served: Served) -> None:
    about = served.get("/v2/models/fashion/versions/1").json()
    assert about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28]}]
    assert about["outputs"] == [{"name": "softmax", "datatype": "FP32", "shape": [-1, 10]}]
    assert (about["platform"], about["versions"], about["parameters"]["engine"]) == (
        "tensorflow_savedmodel",
        ["1"],
        "tensorflow",
    )


def test_health(served: Served) -> None:
    assert served.get("/v2/health/ready").json() == {"ready": True, "live": True}
    assert served.get("/v2/models/mixed/ready").json() == {"name": "mixed", "ready": True}
    assert served.get("/v2/models/nope/ready").status_code == 404


@pytest.mark.parametrize("nested", [True, False])
def test_data_flat_or_nested(served: Served, nested: bool) -> None:
    image = np.random.default_rng(3).random((2, 28, 28), np.float32)
    given = tensor("FP32", (image if nested else image.ravel()).tolist(), [2, 28, 28], "image")
    answer = served.post("/v2/models/fashion/infer", {"id": "a7", "inputs": [given]}).json()
    (output,) = answer["outputs"]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("fashion", "1", "a7")
    assert (output["name"], output["shape"], output["datatype"]) == ("softmax", [2, 10], "FP32")
    rows = served.post("/v1/models/fashion:predict", {"instances": image.tolist()}).json()["predictions"]
    np.testing.assert_allclose(np.reshape(output["data"], (2, 10)), rows, rtol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "kind", "data"),
    [
        ("BOOL", "bool", [True, False]), ("INT8", "int8", [-128]), ("UINT16", "uint16", [65535]),
        ("INT64", "int64", [-(2**63)]), ("UINT64", "uint64", [2**64 - 1]), ("FP16", "float16", [0.5]),
        ("FP64", "float64", [0.1]), ("BYTES", "string", ["ü", ""]), ("UINT8", "uint8", [0, 255]),
    ],
)  # fmt: skip
def test_every_datatype(served: Served, datatype: str, kind: str, data: list[Any]) -> None:
    (output,) = ask(served, f"identity_{kind}", tensor(datatype, data)).json()["outputs"]
    assert output == {"name": "y", "shape": [len(data)], "datatype": datatype, "data": data}


def test_several_inputs_and_chosen_outputs(served: Served) -> None:
    inputs = [
        tensor("FP32", [1, 2, 3, 4], [2, 2]),
        tensor("INT64", [2, 3], name="count"),
        tensor("BYTES", ["a", "b"], name="text"),
    ]
    answer = ask(served, "several", *inputs, outputs=[{"name": "total"}, {"name": "text"}]).json()
    assert [(output["name"], output["data"]) for output in answer["outputs"]] == [
        ("total", [6.0, 21.0]),
        ("text", ["a-a", "b-b"]),
    ]


def test_nan_becomes_null(served: Served) -> None:
    answer = ask(served, "reciprocal", tensor("FP32", [0.0]))
    assert {output["name"]: output["data"] for output in answer.json()["outputs"]} == {"nan": [None], "y": [None]}


def test_raw_tensors_in_and_out(served: Served) -> None:
    array = np.array([[1.5, -2.0]], "<f4")
    head = {
        "parameters": {"signature_name": "identity_float32", "binary_data_output": True},
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
    }
    answer = binary(served, head, array.tobytes())
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8}
    assert answer.content[length:] == array.tobytes()


def test_one_output_raw_and_the_other_as_json(served: Served) -> None:
    raw = struct.pack("<I", 1) + b"\xff"
    head = {
        "parameters": {"signature_name": "several"},
        "inputs": [
            tensor("FP32", [1, 2], [1, 2]),
            tensor("INT64", [2], name="count"),
            {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}},
        ],
        "outputs": [{"name": "raw_bytes", "parameters": {"binary_data": True}}, {"name": "total"}],
    }
    answer = binary(served, head, raw)
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][1]["data"] == [6.0]
    assert answer.content[length:] == raw


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected inputs"),
        ({"inputs": []}, "expected inputs"),
        ({"inputs": [1]}, "an input"),
        ({"inputs": [{"name": "x"}]}, "datatype"),
        ({"inputs": [tensor("FP33", [1])]}, "expected a datatype of BOOL"),
        ({"inputs": [tensor("FP32", [1, 2], [3])]}, "expected 3 elements"),
        ({"inputs": [tensor("FP32", [[1], [2, 3]], [3])]}, "lists of one length"),
        ({"inputs": [tensor("FP32", ["1"])]}, "elements of another type"),
        ({"inputs": [tensor("INT32", [1.5])]}, "elements of another type"),
        ({"inputs": [tensor("INT8", [300])]}, "-128 to 127"),
        ({"inputs": [tensor("FP32", [1], [-1])]}, "integers that are 0 or more"),
        ({"inputs": [tensor("FP32", [1]), tensor("FP32", [1])]}, "twice"),
        ({"inputs": [tensor("FP32", [1])], "parameters": {"signature_name": "nope"}}, "signature_name"),
        ({"inputs": [tensor("FP32", [1])], "parameters": 1}, "parameters"),
        ({"inputs": [tensor("FP32", [1])], "outputs": [{"name": "nope"}]}, "nope"),
        ({"inputs": [tensor("FP32", [1])], "outputs": 1}, "outputs"),
    ],
)
def test_what_is_refused_and_why(served: Served, body: dict[str, Any], message: str) -> None:
    members = {"parameters": {"signature_name": "identity_float32"}, **body}
    answer = served.post(INFER, members)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


def test_binary_requests_that_do_not_add_up(served: Served) -> None:
    head = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}
    assert "0 bytes are left" in binary(served, head, b"").json()["error"]
    assert "belong to no input" in binary(served, head, b"12345").json()["error"]
    too_long = binary(served, head, b"1234", **{"inference-header-content-length": "9999"})
    assert (too_long.status_code, "9999" in too_long.json()["error"]) == (400, True)
    missing = served.ask("POST", INFER, data=b"{}", headers=BINARY)
    assert (missing.status_code, "inference-header" in missing.json()["error"]) == (400, True)


def test_unknown_models_and_versions(served: Served) -> None:
    for path in ("/v2/models/nope/infer", "/v2/models/mixed/versions/9/infer"):
        assert served.post(path, {"inputs": [tensor("FP32", [1])]}).status_code == 404
    assert served.get("/v2/models/nope").status_code == 404
