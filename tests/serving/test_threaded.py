"""What a thread answers at once: each request gets its own answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.serving.answers import Answer
from lading.serving.config import ServeConfig
from lading.serving.errors import Code
from lading.serving.exchange import Exchange, Headers
from lading.serving.models import Models
from lading.serving.routes import make_finder
from lading.serving.threaded import Asked, answer_each

find = make_finder()


@pytest.fixture
def models(half_plus_two_model: Path) -> Iterator[Models]:
    models = Models(ServeConfig.read([f"m={half_plus_two_model}"], {}))
    models.load()
    yield models
    models.close()


def asked(body: bytes, path: str = "/v1/models/m:predict") -> Asked:
    exchange = Exchange(None)  # type: ignore[arg-type]  # nothing is read from a connection, or sent
    exchange.method, exchange.path, exchange.headers = "POST", path, Headers({})
    return find("POST", path), exchange, body


def said(answer: Answer) -> object:
    return json.loads(answer.body)


def test_wrong_requests_fail_alone(models: Models) -> None:
    infer = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[4]}]}'
    requests = [
        asked(b'{"instances":[1.0]}'),
        asked(b'{"instances":['),
        asked(b'{"instances":[2.0, 3.0]}'),
        asked(b'{"instances":["text"]}'),
        asked(b'{"instances":[1.0]}', "/v1/models/other:predict"),
        asked(infer, "/v2/models/m/infer"),
        asked(b'{"instances":[5.0]}'),
    ]
    found = [answer for answer, _ in answer_each(models, requests)]
    assert [answer.code is Code.OK for answer in found] == [True, False, True, False, False, True, True]
    assert [said(found[n]) for n in (0, 2, 6)] == [
        {"predictions": [2.5]},
        {"predictions": [3.0, 3.5]},
        {"predictions": [4.5]},
    ]
    assert "other" in found[4].body.decode()
    for request, answer in zip(requests, found, strict=True):  # as each gets alone
        ((alone, _),) = answer_each(models, [request])
        assert (alone.code, alone.body) == (answer.code, answer.body)


def test_what_each_cost_is_the_mean(models: Models) -> None:
    found = answer_each(models, [asked(b'{"instances":[1.0]}') for _ in range(3)])
    (seconds,) = {seconds for _, seconds in found}
    assert 0 < seconds < 1
