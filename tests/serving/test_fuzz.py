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
from fuzz_requests import HEADERS, LAWFUL, METHODS, SEEDS, SEGMENTS, changed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import Connection, head
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from served import Served, serving

SECONDS = 20.0
"""An answer that takes longer counts as none."""
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
    for operation in operations(served.get("/openapi.json").json(), every=8 if effort == 1 else 1):
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
    for number, path in enumerate(SEEDS):
        for body in bodies[number % 2 :: 2] if effort == 1 else bodies:  # each body is sent to every other path
            check(session.post(served.url + path, data=body, timeout=SECONDS), about=(path, body[:80]))


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
