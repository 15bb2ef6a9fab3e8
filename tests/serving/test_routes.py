"""Which request is for what."""

import pytest

from lading.serving.routes import Route, make_finder

find = make_finder(
    health_route="/v1/endpoints/7/deployedModels/8",
    predict_route="/v1/endpoints/7/deployedModels/8:predict",
    metrics_path="/monitoring/prometheus/metrics",
)


@pytest.mark.parametrize(
    ("method", "path", "verb", "rest"),
    [
        ("POST", "/v1/models/m:predict", "predict", ("m", None, None)),
        ("POST", "/v1/models/m/versions/000123:predict", "predict", ("m", 123, None)),
        ("POST", "/v1/models/m/labels/stable:regress", "regress", ("m", None, "stable")),
        ("POST", "/v1/models/a%2Fb%3Ac:classify", "classify", ("a/b:c", None, None)),
        ("POST", "/V1/Models/m:predict", "predict", ("m", None, None)),
        ("GET", "/v1/models/m", "status", ("m", None, None)),
        ("GET", "/v1/models/m/versions/3/metadata", "metadata", ("m", 3, None)),
        ("GET", "/v1/models/m/labels/l/metadata", "metadata", ("m", None, "l")),
        ("GET", "/v1/models/metadata", "status", ("metadata", None, None)),
        ("GET", "/v1/models/m?x=1", "status", ("m?x=1", None, None)),
        ("GET", "/v1/models", "list", ("", None, None)),
        ("GET", "/v2/models/m/versions/2/ready", "model_ready", ("m", 2, None)),
        ("POST", "/v2/models/m/infer", "infer", ("m", None, None)),
        ("GET", "/v2/models/m", "model", ("m", None, None)),
        ("GET", "/v2", "server", ("", None, None)),
        ("HEAD", "/v2/health/ready", "ready", ("", None, None)),
        ("GET", "/monitoring/prometheus/metrics", "metrics", ("", None, None)),
        ("POST", "/v1/endpoints/7/deployedModels/8:predict", "vertex", ("", None, None)),
        ("GET", "/v1/endpoints/7/deployedModels/8", "ready", ("", None, None)),
        ("POST", "/v1/endpoints/1/deployedModels/2:predict", "vertex", ("", None, None)),
        ("GET", "/v1/endpoints/1/deployedModels/2", "ready", ("", None, None)),
    ],
)
def test_what_is_found(method: str, path: str, verb: str, rest: tuple[str, int | None, str | None]) -> None:
    route = find(method, path)
    assert (route.verb, (route.model, route.version, route.label)) == (verb, rest)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/versions/1/labels/l:predict"),
        ("POST", "/v1/models/m/version/1:predict"),
        ("POST", "/v1/models/m/label/l:predict"),
        ("POST", "/v1/models/m/versions/word:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m:explode"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m/metadata"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/versions/1/"),
        ("GET", "/v1/foo"),
        ("PUT", "/v1/models/m"),
        ("DELETE", "/v1/models/m:predict"),
        ("HEAD", "/v1/models/m"),
        ("POST", "/v1/models"),
    ],
)
def test_what_has_no_meaning_below_v1_is_malformed(method: str, path: str) -> None:
    assert find(method, path) == Route("malformed", counted=True)


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/elsewhere", "not_found"),
        ("GET", "/v2/models/m/explode", "not_found"),
        ("POST", "/v2/health/ready", "not_allowed"),
        ("GET", "/v2/models/m/infer", "not_allowed"),
        ("POST", "/v1/models/m/versions/99999999999999999999:predict", "version_too_large"),
        ("POST", f"/v1/models/m/versions/{'9' * 5000}:predict", "version_too_large"),
        ("OPTIONS", "/v1/models/m:predict", "options"),
    ],
)
def test_what_is_refused_otherwise(method: str, path: str, verb: str) -> None:
    assert find(method, path).verb == verb


def test_metrics_can_be_off() -> None:
    off = make_finder()
    assert off("GET", "/metrics").verb == off("GET", "/monitoring/prometheus/metrics").verb == "not_found"


def test_more_digits_than_python_reads_are_a_version_that_nobody_has() -> None:
    assert find("POST", f"/v2/models/m/versions/{'9' * 5000}/infer") == Route("infer", "m", 2**63)
    assert find("POST", f"/v1/models/m/versions/{'0' * 5000}7:predict") == Route("predict", "m", 7, counted=True)
