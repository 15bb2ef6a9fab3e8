"""``lading serve`` as a process, asked what nobody would ask: whatever comes, it answers, without an own error."""

import collections
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import Connection, head
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from served import Served, serving

SECONDS = 20.0
"""An answer that takes longer counts as none."""
LAWFUL = {200, 400, 404, 405, 413, 501}
"""What a request may be answered whatever it holds: 501 for types that JSON cannot carry."""

SEEDS: dict[str, list[Any]] = {
    "/v1/models/mixed:predict": [
        {
            "signature_name": "several",
            "instances": [
                {"x": [1.5, -2], "count": 3, "text": "ä"},
                {"x": [0, 1], "count": 1, "text": {"b64": "AA=="}},
            ],
        },
        {"inputs": {"x": [[1.5, -2]], "count": [3], "text": ["a"]}},
        {"signature_name": "same", "inputs": [["a"], ["b"]]},
        {"signature_name": "reciprocal", "instances": [0.0, 1e300, -1.5]},
        {"signature_name": "identity_int8", "instances": [1, 0]},
        {"signature_name": "identity_uint64", "inputs": [18446744073709551615]},
        {"signature_name": "identity_bfloat16", "instances": [[1, 0.5]]},
        {"signature_name": "identity_bool", "inputs": [[True], [False]]},
        {"signature_name": "identity_complex64", "inputs": 1},
    ],
    "/v1/models/mlp:predict": [{"instances": [[[0.5] * 28] * 28]}],
    "/v1/models/examples:classify": [
        {"signature_name": "classify", "examples": [{"x": 0.5}, {"x": [0.25], "y": ["a", "b"]}]}
    ],
    "/v1/models/examples:regress": [{"context": {"y": 1}, "examples": [{"x": 0.5}, {"z": {"b64": "AA=="}}]}],
    "/v2/models/mlp/infer": [
        {"inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [0.5] * 784}]}
    ],
    "/v2/models/mixed/infer": [
        {
            "id": "1",
            "parameters": {"signature_name": "same"},
            "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}],
            "outputs": [{"name": "text", "parameters": {"binary_data": True}}],
        },
        {
            "parameters": {"signature_name": "identity_int32", "binary_data_output": True},
            "inputs": [{"name": "x", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}}],
        },
    ],
    "/v1/endpoints/1/deployedModels/2:predict": [{"instances": [1], "parameters": {"signature_name": "identity_int8"}}],
}

EFFORTS = [1, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]


def limits(examples: int, effort: int) -> settings:
    return settings(
        max_examples=examples * effort,
        deadline=None,
        derandomize=effort == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def served(mixed_model: Path, mlp_model: Path, examples_model: Path) -> Iterator[Served]:
    words = (f"mixed={mixed_model}", f"mlp={mlp_model}", f"examples={examples_model}")
    with serving(*words, "--port", "0", "--grpc-port", "off", "--timeout", "10", "--access-log", "off") as made:
        yield made


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


@pytest.fixture(autouse=True)
def well_afterwards(served: Served) -> Iterator[None]:
    yield
    assert served.get("/v2/health/ready").ok
    same = served.post("/v1/models/mixed:predict", {"signature_name": "same", "inputs": "a"})
    assert same.json() == {"outputs": "a"}
    assert [line for line in served.lines if line["severity"] == "ERROR"] == []
    assert served.metric("lading_predictions_running") == served.metric("lading_requests_in_flight") == 0


# What its own OpenAPI document promises.


PROMISED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
"""Not ``negative_data_rejection``: TensorFlow Serving's dialect takes more than a schema can say. Not
``positive_data_acceptance``: the shapes of several inputs have to agree. Not ``unsupported_method``: 400 below /v1."""


_MOST_FORMS = 12
"""Schemathesis does not come to an end of more alternatives."""


def operations(document: dict[str, Any], *, every: int) -> Iterator[Any]:
    """The operations of an OpenAPI document; one with very many forms of request comes several times, with some.

    Of many forms one in ``every`` is taken.
    """
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            forms = content.get("schema", {}).get("anyOf", [])
            forms = [form for form in forms if not form.get("title", "").startswith("spin")]  # takes as long as asked
            forms = forms[::every] if len(forms) > _MOST_FORMS else forms
            for start in range(0, len(forms) or 1, _MOST_FORMS):
                if forms:
                    content["schema"] = {"anyOf": forms[start : start + _MOST_FORMS]}
                part = {**document, "paths": {path: {method: operation}}}
                yield schemathesis.openapi.from_dict(json.loads(json.dumps(part)))[path][method.upper()]


def is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_openapi_document_is_kept_to(served: Served, mode: GenerationMode, effort: int) -> None:
    load_all_checks()
    promised = schemathesis.checks.CHECKS.get_by_names(PROMISED)
    # An answer with strings that are not UTF-8 is no JSON: TensorFlow Serving's dialect.
    about_raw = schemathesis.checks.CHECKS.get_by_names([name for name in PROMISED if "schema" not in name])
    statuses = collections.Counter[int]()
    for operation in operations(served.get("/openapi.json").json(), every=4 if effort == 1 else 1):
        runs = operation.method.upper() == "POST"
        if mode is GenerationMode.NEGATIVE and not runs:
            continue  # there is nothing to get wrong

        @limits(8 if runs else 1, effort if runs else 1)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call(base_url=served.url, timeout=SECONDS)
            raw = answer.status_code == 200 and not is_text(answer.content)
            case.validate_response(answer, checks=about_raw if raw else promised)
            statuses[answer.status_code] += 1

        ask()
    assert set(statuses) <= LAWFUL
    assert statuses[200] > 20 if mode is GenerationMode.POSITIVE else statuses[400] > 50


# The JSON dialect: valid requests, of which something is changed.

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, "", "a", "\ud800", "AA==", "same"]),
    st.floats(),
    st.text(max_size=8),
)
NAMES = st.sampled_from(["x", "b64", "count", "text", "instances", "inputs", "name", ""])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
LITERALS = st.sampled_from(
    [b"NaN", b"-Infinity", b"Inf", b"1e400", b"-0", b"01", b"1.", b"9" * 500, b"[" * 3000, b"{\"a\":" * 3000, b"]",
     b"\"\\u0000\"", b"\"\\ud800\"", b"\"\xff\"", b"\xef\xbb\xbf", b"\0", b",", b"true", b"'", b"//"]
)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path, and a body that is one of its own in which values and then bytes were replaced."""
    path = draw(st.sampled_from(sorted(SEEDS)))
    value = json.loads(json.dumps(draw(st.sampled_from(SEEDS[path]))))
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(list(places(value))[:40]))
        action = draw(st.sampled_from(["replace", "replace", "delete", "repeat"]))
        if action == "replace":
            holder[key] = draw(VALUES)
        elif action == "delete":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        if not value:
            break
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(LITERALS) + body[at + draw(st.integers(0, 6)) :]
    return path, body


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def check(answer: requests.Response, *, about: object) -> None:
    assert answer.status_code in LAWFUL, (answer.text, about)
    assert answer.elapsed.total_seconds() < SECONDS
    if answer.status_code >= 400 and answer.request.method != "HEAD" and answer.content:
        assert list(answer.json()) == ["error"], about


@pytest.mark.parametrize("effort", EFFORTS)
def test_bodies_that_were_changed(served: Served, session: requests.Session, effort: int) -> None:
    @limits(700, effort)
    @given(changed())
    def ask(request: tuple[str, bytes]) -> None:
        path, body = request
        answer = session.post(served.url + path, data=body, timeout=SECONDS)
        check(answer, about=request)
        if answer.ok and path.startswith("/v2") and "octet" not in answer.headers["content-type"]:
            json.loads(answer.content, parse_constant=pytest.fail)  # strict

    ask()


@pytest.mark.parametrize("effort", EFFORTS)
def test_bodies_of_any_bytes(served: Served, session: requests.Session, effort: int) -> None:
    @limits(150, effort)
    @given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=200))
    def ask(path: str, body: bytes) -> None:
        check(session.post(served.url + path, data=body, timeout=SECONDS), about=(path, body))

    ask()


@pytest.mark.parametrize("effort", EFFORTS)
def test_deep_and_long_bodies(served: Served, session: requests.Session, effort: int) -> None:
    depth = 20_000 * effort
    promising = b"1"
    for _ in range(6):
        promising = b"[" + promising + b",1" * 99 + b"]"  # its first lists have 10**12 elements
    bodies = [
        b'{"instances":' + promising + b"}",
        b'{"signature_name":"identity_float32","inputs":' + promising + b"}",
        b"[" * depth,
        b'{"instances":' + b"[" * depth + b"1" + b"]" * depth + b"}",
        b'{"inputs":' + b'{"x":' * depth + b"1" + b"}" * depth + b"}",
        b'{"other":' + b"[" * depth + b"]" * depth + b',"instances":[1]}',
        b'{"signature_name":' + b"[" * depth + b"]" * depth + b"}",
        b'{"inputs":[' + b'{"name":"x","shape":[1],"datatype":"FP32","data":' + b"[" * depth + b"]" * depth + b"}]}",
        b'{"instances":[' + b"1," * depth + b"1]}",
        b'{"instances":[' + b"[]," * depth + b"[]]}",
        b'{"instances":["' + b"\\u00e4" * depth + b'"]}',
        b'{"' + b"a" * depth + b'":1}',
        b"{" + b'"instances":1,' * depth + b'"inputs":2}',
        b'{"instances":[' + b"9" * depth + b"]}",
        b'{"instances":[1.' + b"0" * depth + b"]}",
        b'{"inputs":[{"name":"x","shape":[' + b"9" * 300 + b'],"datatype":"FP32","data":[1]}]}',
        b'{"inputs":[{"name":"x","shape":[2147483647,2147483647,4],"datatype":"FP32","data":[]}]}',
        b'{"inputs":[{"name":"x","shape":[' + b"1," * 300 + b'1],"datatype":"FP32","data":[1]}]}',
        b'{"signature_name":"identity_float32","inputs":' + b"[" * 300 + b"1" + b"]" * 300 + b"}",
        b" " * depth * 10,
    ]
    for path in SEEDS:
        for body in bodies:
            check(session.post(served.url + path, data=body, timeout=SECONDS), about=(path, body[:80]))


HEADER_VALUES = [
    *("0", "1", "-1", "9" * 40, "40", "gzip", "gzip, gzip", "deflate", "identity", "100-continue", "http://a", "*"),
    *("application/octet-stream", "text/html", "x" * 5000, f"00-{'a' * 32}-{'b' * 16}-01"),
]
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")
HEADERS = st.dictionaries(
    st.sampled_from(
        ["inference-header-content-length", "content-encoding", "content-type", "accept", "accept-encoding", "origin",
         "traceparent", "x-cloud-trace-context", "x-request-id", "expect", "range", "te", "cookie", "x-forwarded-for"]
    ),
    st.one_of(st.sampled_from(HEADER_VALUES), st.text(PRINTABLE, max_size=12).map(str.strip)),
    max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("effort", EFFORTS)
def test_headers(served: Served, session: requests.Session, effort: int) -> None:
    @limits(200, effort)
    @given(st.sampled_from(sorted(SEEDS)), HEADERS, st.booleans(), st.integers(0, 12), st.binary(max_size=12))
    def ask(path: str, headers: dict[str, str], packed: bool, cut: int, raw: bytes) -> None:
        body = json.dumps(SEEDS[path][0]).encode() + raw
        body = gzip.compress(body)[: -cut or None] if packed else body
        encoded = {name: text.encode("latin-1") for name, text in headers.items()}
        check(session.post(served.url + path, data=body, headers=encoded, timeout=SECONDS), about=(path, headers))

    ask()


SEGMENTS = st.one_of(
    st.sampled_from(
        ["v1", "v2", "models", "mixed", "mlp", "mixed:predict", "nope", "versions", "1", "labels", "stable", "metadata",
         "infer", "ready", "health", "live", "openapi.json", "metrics", "monitoring", "endpoints", "..", ".", "", "%2F",
         "%00", "%ff", "9" * 30, "mixed:explode", "m" * 3000, "?", "?x=1", "*"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=6),
)  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]


@pytest.mark.parametrize("effort", EFFORTS)
def test_methods_and_paths(served: Served, effort: int) -> None:
    connections = [Connection(served.port, seconds=SECONDS)]

    @limits(500, effort)
    @given(st.sampled_from(METHODS), st.lists(SEGMENTS, max_size=6), st.sampled_from([b"", b"{}", b"\xff"]))
    def ask(method: str, segments: list[str], body: bytes) -> None:
        sent = head("/" + "/".join(segments).replace(" ", "%20"), method=method, content_length=str(len(body))) + body
        connections[0].send(sent)
        if method == "HEAD":
            answer = connections[0].socket.recv(65536)
            assert re.match(rb"HTTP/1.1 [24]\d\d ", answer), answer
            return
        found = connections[0].answer()
        assert found.status in LAWFUL, (found.content, sent)  # type: ignore[attr-defined]
        if found.will_close:
            connections[0].socket.close()
            connections[0] = Connection(served.port, seconds=SECONDS)

    try:
        ask()
    finally:
        connections[0].socket.close()


@pytest.mark.parametrize("effort", EFFORTS)
def test_bytes_instead_of_http(served: Served, effort: int) -> None:
    whole = b"POST /v1/models/mixed:predict HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nx: y\r\n\r\n{}"

    @limits(120, effort)
    @given(st.integers(0, len(whole)), st.binary(min_size=1, max_size=6), st.integers(0, 4))
    def ask(at: int, inserted: bytes, removed: int) -> None:
        with Connection(served.port, seconds=0.05) as connection:
            try:
                connection.send(whole[:at] + inserted + whole[at + removed :])
                found = connection.socket.recv(65536)
            except (TimeoutError, ConnectionError):
                return  # it waits for the rest, or has closed the connection
            assert found == b"" or re.match(rb"HTTP/1.[01] ([24]\d\d|50[15]) ", found), found

    ask()
