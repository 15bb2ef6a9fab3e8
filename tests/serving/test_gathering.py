"""Requests that arrive in one turn of the event loop, over real sockets to a server in this thread: it reads none of
them before all of them are there."""

import asyncio
import json
import re
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_http import Connection, request

from lading.predict.batching import BatchingConfig
from lading.serving.app import App
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.gate import Gate
from lading.serving.listener import Listener
from lading.serving.models import Models
from lading.serving.records import Records

SCALE, HALF, MIXED = ("/v1/models/scale:predict", "/v1/models/half:predict", "/v1/models/mixed:predict")
Question = tuple[str, Any]


class Server:
    """An application and its listener, which run only while they are waited for."""

    def __init__(self, app: App, records: Records, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self._records, self._loop = app, records, loop
        app._gathering.most_seconds = 60  # whatever else the machine does
        self._bound = socket.socket()
        self._bound.bind(("127.0.0.1", 0))
        self._port = self._bound.getsockname()[1]
        self._listener = Listener(app, said={}, most_connections=100)

    async def start(self) -> None:
        self._listener.start(self._bound)

    async def stop(self) -> None:
        self._listener.close()
        await asyncio.wait_for(self._listener.wait_empty(), 20)

    def in_one_turn(self, *questions: Question) -> list[tuple[int, Any]]:
        """Status and content of each answer."""
        with ExitStack() as stack:
            clients = [stack.enter_context(Connection(self._port)) for _ in questions]
            self._run(lambda: len(self._listener._connections) == len(clients))
            for client, (path, body) in zip(clients, questions, strict=True):
                client.send(request(body, path))
            sockets = [client.socket for client in clients]
            self._run(lambda: len(select.select(sockets, [], [], 0)[0]) == len(clients))
            answers = [client.answer() for client in clients]
        self._run(lambda: self._listener.is_empty)
        return [(answer.status, answer.content) for answer in answers]  # type: ignore[attr-defined]

    def call_quick(self, *paths: str) -> None:
        """Have the event loop answer requests for these itself."""
        for path in paths:
            for _ in range(40):
                self.app._pace.record(path, 0.0)

    def metric(self, name: str) -> float:
        page = self._records.metrics.render().decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", page, re.M))

    def _run(self, until: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not until():
                await asyncio.sleep(0.001)

        self._loop.run_until_complete(asyncio.wait_for(wait(), 60))


@pytest.fixture
def serve(
    scale_versions: Path, half_plus_two_model: Path, mixed_model: Path
) -> Iterator[Callable[[BatchingConfig | None], Server]]:
    places = {"scale": scale_versions / "3", "half": half_plus_two_model, "mixed": mixed_model}
    with ExitStack() as stack:
        yield lambda batching: stack.enter_context(_serving(places, batching))


@contextmanager
def _serving(places: dict[str, Path], batching: BatchingConfig | None) -> Iterator[Server]:
    found = tuple(ModelConfig(name, str(place)) for name, place in places.items())
    config = ServeConfig(models=found, batching=batching)
    records = Records(config)
    models = Models(config, metrics=records.metrics)
    models.load()
    loop = asyncio.new_event_loop()
    with Gate(2, 50, 10**8) as gate:
        records.watch(models, gate)
        server = Server(App(models, config, gate=gate, records=records), records, loop)
        loop.run_until_complete(server.start())
        try:
            yield server
        finally:
            loop.run_until_complete(server.stop())
            loop.close()
            models.close()


def test_one_turn_is_one_batch(serve: Callable[[BatchingConfig | None], Server]) -> None:
    server = serve(BatchingConfig())
    server.call_quick(SCALE)
    questions = [(SCALE, {"instances": [float(n)] * (n + 1)}) for n in range(10)]
    answers = server.in_one_turn(*questions)
    assert [(status, json.loads(content)) for status, content in answers] == [
        (200, {"predictions": [3.0 * n] * (n + 1)}) for n in range(10)
    ]
    assert [server.metric(f"lading_batch_rows_{what}") for what in ("count", "sum")] == [1, 55]
    batching = ":tensorflow:serving:batching_session:"
    assert server.metric(f"{batching}queuing_latency_count") == server.metric(f"{batching}input_batch_size_count") == 10
    assert server.metric(":tensorflow:serving:runtime_latency_count") == 10


def test_good_and_bad_requests_of_two_models(serve: Callable[[BatchingConfig | None], Server]) -> None:
    server = serve(BatchingConfig())
    server.call_quick(SCALE, HALF, MIXED)
    plenty = {"signature_name": "reciprocal", "inputs": 4}
    questions: list[tuple[Question, int, Any]] = [
        ((SCALE, {"instances": [1.0]}), 200, {"predictions": [3.0]}),
        ((HALF, {"instances": [1.0]}), 200, {"predictions": [2.5]}),
        ((SCALE, b"{"), 400, None),
        ((SCALE, {"instances": ["x"]}), 400, None),
        ((SCALE, {"instances": [[1.0, 2.0]]}), 200, {"predictions": [[3.0, 6.0]]}),  # of another shape
        ((HALF, {"inputs": [2.0, 4.0]}), 200, {"outputs": [3.0, 4.0]}),
        ((SCALE, {"signature_name": "none", "instances": [1.0]}), 400, None),
        (("/v1/models/none:predict", {"instances": [1.0]}), 404, None),
        ((MIXED, plenty), 200, {"outputs": {"y": 0.25, "nan": 1.0}}),
        ((SCALE, {"inputs": [5.0]}), 200, {"outputs": [15.0]}),
    ]
    server.call_quick("/v1/models/none:predict")
    answers = server.in_one_turn(*[question for question, _, _ in questions])
    for (_, status, expected), (came, content) in zip(questions, answers, strict=True):
        assert came == status, content
        if expected is not None:
            assert json.loads(content) == expected
    assert server.metric("lading_batch_rows_count") == 3  # the other shape by itself
    assert server.metric("lading_requests_total") == len(questions)


def test_the_limits_of_batches_hold(serve: Callable[[BatchingConfig | None], Server]) -> None:
    server = serve(BatchingConfig(max_batch_size=4, max_enqueued_batches=1))
    server.call_quick(SCALE)
    answers = server.in_one_turn(*[(SCALE, {"instances": [float(n)]}) for n in range(10)])
    assert sorted(status for status, _ in answers) == [200] * 8 + [503] * 2
    for n, (status, content) in enumerate(answers):
        assert status == 503 or json.loads(content) == {"predictions": [3.0 * n]}
    assert [server.metric(f"lading_batch_rows_{what}") for what in ("count", "sum")] == [2, 8]


def test_what_may_have_to_wait_is_left_to_threads(serve: Callable[[BatchingConfig | None], Server]) -> None:
    server = serve(BatchingConfig(max_batch_size=4, batch_timeout_micros=20_000, num_batch_threads=1))
    server.call_quick(SCALE)
    answers = server.in_one_turn((SCALE, {"instances": [1.0]}))
    assert answers == [(200, b'{"predictions":[3.0]}')]
    assert server.metric("lading_queue_seconds_sum") >= 0.02


@pytest.mark.parametrize("batching", [None, BatchingConfig()])
def test_what_turns_out_slow_is_left_to_threads(
    serve: Callable[[BatchingConfig | None], Server], batching: BatchingConfig | None
) -> None:
    server = serve(batching)
    server.call_quick(MIXED, SCALE)
    server.app._gathering.most_seconds = 0.05
    rounds = 10_000  # each takes longer than one turn of the event loop may
    spins = [(MIXED, {"signature_name": "spin", "inputs": rounds + n}) for n in range(4)]
    answers = server.in_one_turn(*spins, (SCALE, {"instances": [1.0]}))
    assert [json.loads(content) for _, content in answers] == [
        *({"outputs": rounds + n} for n in range(4)),
        {"predictions": [3.0]},
    ]
    assert not server.app._pace.is_quick(MIXED, 10)
    assert server.app.running == 0


def test_answers_are_those_of_a_thread(serve: Callable[[BatchingConfig | None], Server]) -> None:
    server = serve(None)
    reciprocal = [(MIXED, {"signature_name": "reciprocal", "inputs": value}) for value in (0, 3, -7.25, 1e30)]
    same = [(MIXED, {"signature_name": "same", "inputs": text}) for text in ("a", ["ä", "\u2028"], {"b64": "/w=="})]
    others = [(MIXED, b"no"), (MIXED, {}), (SCALE, {"instances": [0.1, 1e-30]}), (SCALE, {"instances": []})]
    v2 = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.5]}]}
    questions = [*reciprocal, *same, *others, ("/v2/models/scale/infer", v2), ("/v1/models/half:regress", {})]
    by_threads = server.in_one_turn(*questions)
    server.call_quick(*(path for path, _ in questions))
    assert server.in_one_turn(*questions) == by_threads
