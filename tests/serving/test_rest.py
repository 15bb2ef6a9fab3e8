"""TensorFlow Serving's REST API, KServe's V1 and Vertex AI's routes, as their clients see them."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

VERTEX = {
    "AIP_HTTP_PORT": "0",
    "AIP_HEALTH_ROUTE": "/v1/endpoints/7/deployedModels/8",
    "AIP_PREDICT_ROUTE": "/v1/endpoints/7/deployedModels/8:predict",
    "AIP_DEPLOYED_MODEL_ID": "8",
    "LADING_MODEL_DIFF_ID": "sha256:abc",
}
MIXED = "/v1/models/mixed:predict"


@pytest.fixture(scope="module")
def served(mixed_model: Path) -> Iterator[Served]:
    with serving(f"mixed={mixed_model}", **VERTEX) as made:
        yield made


def identity(served: Served, kind: str, body: dict[str, Any]) -> Any:
    answer = served.post(MIXED, {"signature_name": f"identity_{kind}", **body})
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float32", 0.1), ("float32", 1e30), ("float64", 0.1234567890123456), ("float16", 0.5), ("bfloat16", 1.5),
        ("int8", -128), ("int16", -32768), ("int32", 2**31 - 1), ("int64", 2**63 - 1), ("int64", -(2**63)),
        ("uint8", 255), ("uint16", 65535), ("uint32", 2**32 - 1), ("uint64", 2**64 - 1),
        ("bool", True), ("string", "ü\0"),
    ],
)  # fmt: skip
def test_every_type_comes_back_as_it_went(served: Served, kind: str, value: Any) -> None:
    assert identity(served, kind, {"instances": [value]}) == (200, {"predictions": [value]})
    assert identity(served, kind, {"inputs": {"x": [[value]]}}) == (200, {"outputs": [[value]]})


def test_strings_that_are_not_utf_8_are_written_as_they_are(served: Served) -> None:
    body = {"signature_name": "identity_string", "instances": [{"b64": "/wAi"}]}
    answer = served.post(MIXED, body)
    assert (answer.status_code, answer.content) == (200, b'{"predictions":["\xff\\u0000\\""]}')
    refused = served.post(VERTEX["AIP_PREDICT_ROUTE"], {**body, "parameters": {"signature_name": "identity_string"}})
    assert (refused.status_code, "not UTF-8" in refused.json()["error"]) == (400, True)


def test_complex_numbers_have_no_json_form(served: Served) -> None:
    status, answer = identity(served, "complex64", {"inputs": [1]})
    assert (status, answer["error"]) == (501, "Conversion of JSON Value: 1 to type: complex64")
    status, answer = identity(served, "complex64", {"instances": [1]})
    assert (status, "Error: UNIMPLEMENTED: " in answer["error"]) == (400, True)


def test_whole_floats_look_like_floats_and_integers_do_not(served: Served) -> None:
    floats = served.post(MIXED, {"signature_name": "identity_float32", "instances": [3, 9e6]})
    integers = served.post(MIXED, {"signature_name": "identity_int64", "instances": [3]})
    assert [type(value) for value in floats.json()["predictions"]] == [float, float]
    assert integers.text == '{"predictions":[3]}'


def test_nan_and_infinity_are_tokens(served: Served) -> None:
    answer = served.post(MIXED, b'{"signature_name": "identity_float32", "instances": [NaN, -Infinity, Inf]}')
    assert answer.text == '{"predictions":[NaN,-Infinity,Infinity]}'


def test_binary_data_goes_as_base64_where_the_name_ends_in_bytes(served: Served) -> None:
    body = {"inputs": {"x": [[1, 2]], "count": [1], "text": [{"b64": "/w=="}]}}
    answer = served.post(MIXED, {"instances": [{"x": [1, 2], "count": 3, "text": "a"}]}).json()["predictions"]
    assert answer == [{"count": 4, "raw_bytes": {"b64": "YQ=="}, "text": "a-a", "total": 9.0}]
    assert b'"raw_bytes":[{"b64":"/w=="}],"text":["\xff-\xff"]' in served.post(MIXED, body).content


def test_declared_shapes_are_not_enforced(served: Served) -> None:
    assert identity(served, "float32", {"inputs": 3.0}) == (200, {"outputs": 3.0})
    wide = served.post(MIXED, {"inputs": {"x": [[1.0, 2.0, 3.0]], "count": [2], "text": ["a"]}})
    assert wide.json()["outputs"]["total"] == [12.0]


def test_text_behind_the_document_and_unknown_members_are_ignored(served: Served) -> None:
    answer = served.post(MIXED, b'{"signature_name":"same","instances":["a"],"parameters":{"a":1}} trailing')
    assert answer.json() == {"predictions": ["a"]}


def test_an_empty_signature_name_is_the_default_one(served: Served) -> None:
    assert served.post(MIXED, {"signature_name": "", "instances": []}).status_code == 400
    row = {"x": [1, 2], "count": 3, "text": "a"}
    assert served.post(MIXED, {"signature_name": "", "instances": [row]}).ok


def test_gzip(served: Served) -> None:
    body = gzip.compress(json.dumps({"signature_name": "same", "instances": ["a"]}).encode())
    ok = served.ask("POST", MIXED, data=body, headers={"content-encoding": "gzip"})
    assert ok.json() == {"predictions": ["a"]}
    broken = served.ask("POST", MIXED, data=body[:-9], headers={"content-encoding": "gzip"})
    assert (broken.status_code, "The document is empty" in broken.json()["error"]) == (400, True)
    bomb = gzip.compress(b" " * (40 << 20))
    assert served.ask("POST", MIXED, data=bomb, headers={"content-encoding": "gzip"}).status_code == 413


def test_a_body_in_chunks(served: Served) -> None:
    parts = iter([b'{"signature_name":', b'"same","instances":["a"]}'])
    assert served.ask("POST", MIXED, data=parts).json() == {"predictions": ["a"]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", MIXED, 400), ("DELETE", "/v1/models/mixed", 400), ("PATCH", "/v1/foo", 400), ("GET", "/v1/foo", 400),
        ("GET", MIXED, 400), ("POST", "/v1/models/mixed/metadata", 400), ("GET", "/nope", 404),
        ("POST", "/v2/health/ready", 405),
    ],
)  # fmt: skip
def test_methods_and_paths_without_meaning(served: Served, method: str, path: str, status: int) -> None:
    answer = served.ask(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.headers["content-type"] == "application/json"


def test_head_has_no_body(served: Served) -> None:
    assert (served.ask("HEAD", "/v1/models/mixed").status_code, served.ask("HEAD", "/").status_code) == (400, 200)


def test_options_as_browsers_ask(served: Served) -> None:
    asked = served.ask("OPTIONS", MIXED, headers={"origin": "https://example.org"})
    assert (asked.status_code, asked.text, served.ask("OPTIONS", MIXED).status_code) == (200, "", 400)


def test_a_version_beyond_int64_has_an_empty_answer(served: Served) -> None:
    answer = served.post("/v1/models/mixed/versions/99999999999999999999:predict", {})
    assert (answer.status_code, answer.text) == (400, "")


def test_bad_json_for_an_unknown_model_is_400_and_good_json_404(served: Served) -> None:
    path = "/v1/models/nope:predict"
    assert (served.post(path, b"{").status_code, served.post(path, {}).status_code) == (400, 404)


def test_an_unknown_label_is_400_for_any_model(served: Served) -> None:
    for model in ("mixed", "nope"):
        answer = served.post(f"/v1/models/{model}/labels/stable:predict", {"instances": [1]})
        assert (answer.status_code, answer.json()["error"]) == (400, "Unrecognized servable version label: stable")


def test_status_of_what_is_unknown(served: Served) -> None:
    answers = [served.get(path) for path in ("/v1/models/nope", "/v1/models/mixed/versions/9")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert [answer.json()["error"] for answer in answers] == [
        "Could not find any versions of model nope",
        "Could not find version 9 of model mixed",
    ]


def test_metadata_lists_every_signature(served: Served) -> None:
    signatures = served.get("/v1/models/mixed/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert signatures["__saved_model_init_op"]["outputs"]["__saved_model_init_op"]["dtype"] == "DT_INVALID"
    unknown = signatures["identity_float32"]["inputs"]["x"]
    assert unknown["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert unknown["name"].endswith(":0")


def test_a_signature_without_inputs(served: Served) -> None:
    answer = served.post(MIXED, {"signature_name": "__saved_model_init_op", "instances": [1]})
    assert answer.json()["error"] == "Failed to get input map for signature: __saved_model_init_op"


def test_kserve_v1(served: Served) -> None:
    assert served.get("/v1/models").json() == {"models": ["mixed"]}
    status = served.get("/v1/models/mixed").json()
    assert (status["name"], status["ready"]) == ("mixed", True)


def test_vertex_routes_come_first(served: Served) -> None:
    assert served.get(VERTEX["AIP_HEALTH_ROUTE"]).status_code == 200
    row = {"x": [1, 2], "count": 3, "text": "a"}
    answer = served.post(VERTEX["AIP_PREDICT_ROUTE"], {"instances": [row], "parameters": {}})
    assert answer.json()["predictions"][0]["total"] == 9.0


def test_vertex_is_told_in_the_body_who_answers_if_it_asks(served: Served) -> None:
    said = {"x-lading-revision": "8", "x-lading-model": "sha256:abc"}
    for body in ({"instances": ["a"]}, {"inputs": ["a"]}):
        asked = {**body, "signature_name": "same", "parameters": {"identity": True}}
        answer = served.post(VERTEX["AIP_PREDICT_ROUTE"], asked).json()
        plain = served.post(VERTEX["AIP_PREDICT_ROUTE"], {**asked, "parameters": {}}).json()
        assert answer == {"metadata": said, **plain}


def test_vertex_answers_are_json_even_where_they_hold_nan(served: Served) -> None:
    body = {"instances": [0.0], "parameters": {"signature_name": "reciprocal"}}
    answer = served.post(VERTEX["AIP_PREDICT_ROUTE"], body)
    assert answer.text == '{"predictions":[{"nan":null,"y":null}]}'


def test_numbers_for_prometheus_are_there_under_both_paths(served: Served) -> None:
    served.post(MIXED, {"signature_name": "same", "instances": ["a"]})
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        page = served.get(path)
        assert page.headers["content-type"].startswith("text/plain")
        assert ':tensorflow:serving:request_count{model_name="mixed",status="OK"}' in page.text


@pytest.fixture(scope="module")
def toys(examples_model: Path, half_plus_two_model: Path) -> Iterator[Served]:
    with serving(f"examples={examples_model}", f"toy={half_plus_two_model}", PORT="0") as made:
        yield made


def test_the_toy_of_tensorflow_servings_docs(toys: Served) -> None:
    """Its input is an inner tensor, and is declared as [-1, 1]."""
    assert toys.post("/v1/models/toy:predict", {"instances": [1.0, 2.0, 5.0]}).json() == {
        "predictions": [2.5, 3.0, 4.5]
    }


@pytest.mark.parametrize("x", [2.0, [2.0]])
def test_regress(toys: Served, x: Any) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": x}, {"x": 4.0}]}
    assert toys.post("/v1/models/toy:regress", body).json() == {"results": [3.0, 4.0]}


def test_context_stands_before_every_example(toys: Served) -> None:
    body = {"signature_name": "regress_x_to_y", "context": {"x": 8.0}, "examples": [{}, {"x": 4.0}]}
    assert toys.post("/v1/models/toy:regress", body).json() == {"results": [6.0, 4.0]}


def test_classify(toys: Served) -> None:
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert toys.post("/v1/models/toy:classify", body).json() == {"results": [[["", 3.0]]]}
    labelled = toys.post("/v1/models/examples:classify", {"signature_name": "classify", "examples": [{"x": 0.1}]})
    assert labelled.json() == {"results": [[["low", 0.9], ["hoch ä", 0.1]]]}


@pytest.mark.parametrize(
    ("verb", "body", "status", "message"),
    [
        ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2}]}, 400, ""),
        ("regress", {"examples": []}, 400, "'examples' value is an empty array"),
        ("classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("classify", {"examples": [{"x": None}]}, 400, "Feature: x has element with unexpected JSON type: Null"),
        ("regress", {"signature_name": "nope", "examples": [{"x": 2.0}]}, 400, "No signature was found with the name"),
        ("classify", {}, 400, "key 'examples' is expected and was not found"),
    ],
)
def test_examples_that_are_refused(toys: Served, verb: str, body: Any, status: int, message: str) -> None:
    answer = toys.post(f"/v1/models/toy:{verb}", body)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text


def test_an_unknown_model_is_looked_up_after_the_examples(toys: Served) -> None:
    assert toys.post("/v1/models/nope:regress", {"examples": [{"x": 1.0}]}).status_code == 404
    assert toys.post("/v1/models/nope:regress", {"examples": 1}).status_code == 400
