"""TensorFlow Serving's gRPC API, asked by the stubs that its clients use."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grpc_server import serving

from lading.serving.config import ModelConfig, VersionPolicy

CLIENT = Path(__file__).parent / "tfs_client.py"


@pytest.fixture(scope="module")
def answers(
    half_plus_two_model: Path, examples_model: Path, mixed_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What each call of ``tfs_client.py`` got."""
    base = tmp_path_factory.mktemp("versions")
    for version in (5, 7):
        shutil.copytree(half_plus_two_model, base / str(version))
    policy = VersionPolicy(latest=2)
    models = (
        ModelConfig("half", str(base), policy, {"stable": 5}),
        ModelConfig("examples", str(examples_model)),
        ModelConfig("mixed", str(mixed_model)),
    )
    with serving(*models) as running:
        command = [sys.executable, CLIENT, str(running.server.port), str(base)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert not done.returncode, done.stderr
        page = running.records.metrics.render().decode()
    return {**json.loads(done.stdout), "metrics": {"value": page}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("toy", [[2.5, 3.0, 4.5], ["half", 7, "serving_default"]]),
        ("content", {"y": [[2.5], [3.0]]}),
        ("several", {"text": "[b'a-a', b'b-b']", "total": "[3.0, 14.0]"}),
        ("default_input", [{"y": [3.0, 6.0]}, {"y": [2.0, 4.0]}]),
        ("version", ["half", 7, "serving_default"]),
        ("labelled", ["half", 5, "serving_default"]),
        (
            "classify",
            [
                [[["low", 0.75], ["hoch ä", 0.25]], [["low", 0.0], ["hoch ä", 1.0]]],
                ["examples", 1, "classify"],
            ],
        ),
        ("classify_scores_only", [[["", 3.0]]]),
        ("regress", [[3.0, 4.0], ["half", 7, "regress_x_to_y"]]),
        ("regress_with_context", [[10.0, 2.0], ["examples", 1, "serving_default"]]),
        ("multi_inference", [[3.0], [3.0], ["half", 7, "regress_x_to_y"], ["half", 7, "classify_x_to_y"]]),
        ("metadata_defaults", {"by": 3.0}),
        ("status", [[[7, "AVAILABLE", 0], [5, "AVAILABLE", 0]], [[7, "AVAILABLE", 0]]]),
        ("reload", [0, {"y": [2.5]}, "NOT_FOUND"]),
    ],
)
def test_an_unmodified_client_is_answered(answers: dict[str, Any], name: str, expected: object) -> None:
    assert answers[name] == {"value": expected}


def test_every_type_comes_back_as_it_was_sent(answers: dict[str, Any]) -> None:
    ones = {name: [True, "[1.0, 0.0]"] for name in ("float16", "bfloat16", "float64")}
    whole = {name: [True, "[1, 0]"] for name in ("int8", "uint16", "uint32", "uint64")}
    others = {"complex64": [True, "[(1+0j), 0j]"], "bool": [True, "[True, False]"], "string": [True, "[b'a', b'']"]}
    assert answers["every_type"] == {"value": {**ones, **whole, **others}}


def test_metadata_holds_every_signature(answers: dict[str, Any]) -> None:
    signatures = ["classify_x2_to_y3", "classify_x_to_y", "regress_x2_to_y3", "regress_x_to_y", "regress_x_to_y2"]
    assert answers["metadata"] == {
        "value": [
            ["half", 7, ""],
            [*signatures, "serving_default"],
            "tensorflow/serving/predict",
            ["x:0", 1, [-1, 1]],
            ["y:0", False],
        ]
    }


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("unknown_model", "NOT_FOUND", "Servable not found for request: Latest(intentionally_missing_model)"),
        ("unknown_version", "NOT_FOUND", "Servable not found for request: Specific(half, 99)"),
        ("unknown_label", "INVALID_ARGUMENT", "Unrecognized servable version label: canary"),
        ("no_spec", "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("no_name", "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("unknown_signature", "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        (
            "wrong_inputs",
            "INVALID_ARGUMENT",
            "signature: 2!=1 len({a,x}) != len({x}). Sent extra: {a}. Missing but required: {}.",
        ),
        (
            "missing_inputs",
            "INVALID_ARGUMENT",
            "signature: 1!=3 len({x}) != len({count,text,x}). Sent extra: {}. Missing but required: {count,text}.",
        ),
        ("other_input", "INVALID_ARGUMENT", "input tensor alias not found in signature: z."),
        ("missing_without_default", "INVALID_ARGUMENT", "have no defaults: {x}."),
        ("wrong_type", "INVALID_ARGUMENT", "to be float but string is provided"),
        ("wrong_shape", "INVALID_ARGUMENT", "Incompatible shapes: [3] vs. [2]"),
        ("unknown_output", "INVALID_ARGUMENT", "output tensor alias not found in signature: z"),
        ("repeated_output", "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        ("classify_empty", "INVALID_ARGUMENT", "Input is empty."),
        ("classify_unknown", "INVALID_ARGUMENT", "No signature was found with the name: nope"),
        ("classify_by_regression", "INVALID_ARGUMENT", 'at least one of "classes" or "scores"'),
        ("classify_flat", "INVALID_ARGUMENT", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ("classify_binary_labels", "INVALID_ARGUMENT", "a class label is not UTF-8"),
        ("classify_two_inputs", "INVALID_ARGUMENT", "Expected one input Tensor."),
        ("classify_other_feature_type", "INVALID_ARGUMENT", "Data types don't match"),
        ("multi_inference_other_model", "INVALID_ARGUMENT", "must access the same model name."),
        ("multi_inference_twice", "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress_x_to_y"),
        ("multi_inference_unknown", "INVALID_ARGUMENT", "Requested signature not found in model graph: nope"),
        (
            "multi_inference_predict",
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        ("multi_inference_none", "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("metadata_no_field", "INVALID_ARGUMENT", "must specify at least one metadata_field"),
        ("metadata_other_field", "INVALID_ARGUMENT", "Metadata field graph is not supported"),
        ("metadata_unknown_model", "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ("status_unknown", "NOT_FOUND", "Could not find any versions of model nope"),
        ("status_unknown_version", "NOT_FOUND", "Could not find version 99 of model half"),
        ("reload_other_config", "INVALID_ARGUMENT", "Only ModelConfigList is currently supported"),
    ],
)
def test_errors_have_the_codes_and_texts_of_tensorflow_serving(
    answers: dict[str, Any], name: str, code: str, text: str
) -> None:
    assert answers[name].get("code") == code, answers[name]
    assert text in answers[name]["text"]


def test_a_long_text_is_cut(answers: dict[str, Any]) -> None:
    text = answers["long_text"]["text"]
    assert text.endswith("n...TRUNCATED")
    assert len(text) == 1024 + len("...TRUNCATED")


def test_calls_that_run_a_model_are_counted(answers: dict[str, Any]) -> None:
    page = answers["metrics"]["value"]
    ok = 'lading_requests_total{model="half",api="%s",entrypoint="GRPC",code="OK"}'
    for api in ("Predict", "Classify", "Regress", "MultiInference"):
        assert ok % api in page
    assert 'api="Predict",entrypoint="GRPC",code="FAILED_PRECONDITION"' in page
    assert "GetModelStatus" not in page
    ran = ':tensorflow:serving:runtime_latency_count{model_name="half",API="%s",runtime="TF1"}'
    assert all(ran % api in page for api in ("Predict", "Classify", "Regress"))
    assert ':tensorflow:serving:request_example_counts_count{model="half"}' in page
