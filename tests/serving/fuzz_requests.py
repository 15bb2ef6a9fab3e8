"""Requests that are nearly right: bodies, headers and paths for ``test_fuzz``."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

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
SEGMENTS = st.one_of(
    st.sampled_from(
        ["v1", "v2", "models", "mixed", "mlp", "mixed:predict", "nope", "versions", "1", "labels", "stable", "metadata",
         "infer", "ready", "health", "live", "openapi.json", "metrics", "monitoring", "endpoints", "..", ".", "", "%2F",
         "%00", "%ff", "9" * 30, "mixed:explode", "m" * 3000, "?", "?x=1", "*"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=6),
)  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]
