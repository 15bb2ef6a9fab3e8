"""The server's own description: right by OpenAPI's schema, and true of what the server answers."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from lading.predict.model import Model
from lading.serving import rest
from lading.serving.answers import Answer, Request
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.metrics import Metrics
from lading.serving.models import Models
from lading.serving.openapi import document
from lading.serving.routes import make_finder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that it brings
    import schemathesis

SHOWN = (
    "serving_default",
    "same",
    "reciprocal",
    "identity_int8",
    "identity_uint64",
    "identity_bool",
    "identity_string",
)
"""Of the mixed model; its signature ``spin`` takes as long as it is told to."""
VERTEX = {"predict_route": "/v1/endpoints/7/deployedModels/8:predict", "health_route": "/vertex/health"}


class Site:
    """A server without sockets, and its document."""

    def __init__(self, config: ServeConfig) -> None:
        self.models = Models(config)
        self.models.load()
        self._site = rest.Site(self.models, config, Metrics(self.models.names))
        self._find = make_finder(
            health_route=config.health_route, predict_route=config.predict_route, metrics_path=config.metrics_path
        )
        self.config = config

    def model(self, name: str) -> Model:
        return self.models.find(name).model

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        route = self._find(method, path)
        request = Request(method, path, b"" if body is None else json.dumps(body).encode())
        return rest.run(self.models, route, request) if route.runs_model else self._site.answer(route, request)


@pytest.fixture(scope="module")
def site(mlp_model: Path, mixed_model: Path) -> Iterator[Site]:
    models = (ModelConfig("mlp", str(mlp_model)), ModelConfig("mi xed", str(mixed_model)))
    made = Site(ServeConfig(models, **VERTEX))
    mixed = made.model("mi xed")
    mixed.signatures = {name: mixed.signatures[name] for name in SHOWN}
    yield made
    made.models.close()


@pytest.fixture(scope="module")
def described(site: Site) -> dict[str, Any]:
    return document(site.models, site.config)


MIXED, MLP = "/v1/models/mi%20xed", "/v1/models/mlp"
RUNNING = [
    f"{MLP}:predict",
    "/v2/models/mlp/infer",
    f"{MIXED}:predict",
    "/v2/models/mi%20xed/infer",
    "/v1/endpoints/7/deployedModels/8:predict",
]


def content(described: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return found


def is_valid(described: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator({**schema, "components": described["components"]}).is_valid(value)


def check(described: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """The answer is one that the document announces."""
    responses = described["paths"][path][method.lower()]["responses"]
    assert str(answer.status) in responses, answer.body
    kind = answer.content_type.split(";")[0]
    schema = responses[str(answer.status)]["content"][kind]["schema"]
    value = json.loads(answer.body) if kind == "application/json" else answer.body.decode()
    assert is_valid(described, schema, value), f"{path}: {answer.body[:500]!r}"


def test_it_is_an_openapi_document(described: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(described).validate()
    json.dumps(described, allow_nan=False)
    identifiers = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(set(identifiers)) == len(identifiers)
    assert set(RUNNING) <= described["paths"].keys()
    assert f"{MLP}:classify" not in described["paths"], "no signature of the model classifies"


def test_every_path_that_is_read_answers_as_described(site: Site, described: dict[str, Any]) -> None:
    asked = [path for path, operations in described["paths"].items() if "get" in operations]
    assert len(asked) > 15
    for path in asked:
        answer = site.ask("GET", path)
        assert answer.status == 200, path
        check(described, "GET", path, answer)


@pytest.mark.parametrize("path", RUNNING)
def test_every_sample_is_answered_as_described(site: Site, described: dict[str, Any], path: str) -> None:
    found = content(described, path)
    assert found["examples"]
    for name, example in found["examples"].items():
        assert is_valid(described, found["schema"], example["value"]), name
        answer = site.ask("POST", path, example["value"])
        assert answer.status == 200, (name, answer.body)
        check(described, "POST", path, answer)


def test_each_signature_has_a_sample(described: dict[str, Any]) -> None:
    named = {name.partition(",")[0] for name in content(described, f"{MIXED}:predict")["examples"]}
    assert named == set(SHOWN)


def test_the_sample_is_the_first_golden_request(site: Site, described: dict[str, Any]) -> None:
    golden = json.loads((site.model("mlp").path / "assets.extra/lading/golden.jsonl").read_text().splitlines()[0])
    samples = content(described, f"{MLP}:predict")["examples"]
    assert samples["serving_default, rows"]["value"] == {"instances": golden["request"]["image"]}
    assert samples["serving_default, columns"]["value"] == {"inputs": golden["request"]}
    answer = json.loads(site.ask("POST", f"{MLP}:predict", samples["serving_default, rows"]["value"]).body)
    assert answer["predictions"][0] == pytest.approx(golden["response"]["softmax"][0], abs=1e-4)


@pytest.mark.parametrize("path", RUNNING)
def test_what_the_schema_permits_is_never_an_internal_error(site: Site, described: dict[str, Any], path: str) -> None:
    """Requests from the schema, through the code that answers them."""
    operation = schemathesis.openapi.from_dict(described)[path]["POST"]
    statuses = []

    @given(operation.as_strategy())
    @settings(
        max_examples=40 if "mi%20xed" in path else 5,  # to make up 784 numbers takes long
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        answer = site.ask("POST", path, case.body)
        assert answer.status in (200, 400), answer.body
        check(described, "POST", path, answer)
        statuses.append(answer.status)

    ask()
    assert 200 in statuses


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": []},
        {"instances": [[[0.5] * 28] * 27]},
        {"instances": [[[0.5] * 28] * 28], "inputs": [[[0.5] * 28] * 28]},
        {"instances": [[["a"] * 28] * 28]},
        {"instances": [[[1e39] * 28] * 28]},
        {"instances": [{"image": [[0.5] * 28] * 28, "more": 1}]},
        {"inputs": {}},
        {"instances": [[[0.5] * 28] * 28], "signature_name": "other"},
        {"instances": [[[0.5] * 28] * 28], "signature_name": None},
    ],
)
def test_what_the_schema_refuses(described: dict[str, Any], body: Any) -> None:
    assert not is_valid(described, content(described, f"{MLP}:predict")["schema"], body)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[[0.5] * 28] * 28] * 3},
        {"instances": [{"image": [[0] * 28] * 28}], "signature_name": "serving_default"},
        {"inputs": [[[0.5] * 28] * 28], "parameters": {}, "signature_name": ""},
        {"inputs": {"image": [[[0.5] * 28] * 28], "more": 1}},
    ],
)
def test_what_the_schema_takes_and_the_server_too(site: Site, described: dict[str, Any], body: Any) -> None:
    assert is_valid(described, content(described, f"{MLP}:predict")["schema"], body)
    assert site.ask("POST", f"{MLP}:predict", body).status == 200


def test_nan_is_described_where_it_is_written(site: Site, described: dict[str, Any]) -> None:
    body = {"signature_name": "reciprocal", "inputs": [0.0]}
    answer = site.ask("POST", f"{MIXED}:predict", body)
    assert b"NaN" in answer.body
    check(described, "POST", f"{MIXED}:predict", answer)


def test_errors_are_described(site: Site, described: dict[str, Any]) -> None:
    for path in RUNNING:
        answer = site.ask("POST", path, {"instances": 3})
        assert answer.status == 400
        check(described, "POST", path, answer)


def test_a_model_that_is_not_loaded_is_left_out(mlp_model: Path, tmp_path: Path) -> None:
    site = Site(ServeConfig((ModelConfig("mlp", str(mlp_model)), ModelConfig("missing", str(tmp_path)))))
    try:
        described = document(site.models, site.config)
        assert not [path for path in described["paths"] if "missing" in path]
        check(described, "GET", "/v2/health/ready", site.ask("GET", "/v2/health/ready"))
        check(described, "GET", "/v1/models", site.ask("GET", "/v1/models"))
    finally:
        site.models.close()


def test_without_metrics_there_is_no_path_for_them(site: Site) -> None:
    described = document(site.models, ServeConfig((ModelConfig("mlp", ""),), metrics_path=""))
    assert not [path for path in described["paths"] if "metrics" in path]
