"""``lading serve --batching`` as a process: concurrent requests share batches, and each gets its own answer."""

import random
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from served import Served, serving

SCALE, FASHION, EXAMPLES = ("/v1/models/scale:predict", "/v1/models/fashion:predict", "/v1/models/examples:classify")


@pytest.fixture(scope="module")
def served(
    scale_versions: Path, mlp_model: Path, examples_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("batching") / "batching.txt"
    file.write_text(
        "max_batch_size { value: 64 } batch_timeout_micros { value: 3000 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 100 } allowed_batch_sizes: 8 allowed_batch_sizes: 64"
    )
    models = (f"scale={scale_versions / '3'}", f"fashion={mlp_model}", f"examples={examples_model}")
    words = ("--port", "0", "--grpc-port", "off", "--batching", "--batching-parameters-file", str(file))
    with serving(*models, *words) as made:
        yield made


def together(served: Served, requests_of: list[list[tuple[str, object]]]) -> list[list[requests.Response]]:
    """The answers to lists of requests; each list in its order, all lists at the same time."""
    barrier = threading.Barrier(len(requests_of))

    def ask(bodies: list[tuple[str, object]]) -> list[requests.Response]:
        with requests.Session() as session:
            barrier.wait(30)
            return [session.post(served.url + path, json=body, timeout=60) for path, body in bodies]

    with ThreadPoolExecutor(len(requests_of)) as pool:
        return list(pool.map(ask, requests_of))


def test_everyone_gets_the_own_answer(served: Served) -> None:
    rows = [[[float(100 * client + n + row) for row in range(n % 3 + 1)] for n in range(20)] for client in range(12)]
    counted = [served.metric(f"lading_batch_rows_{what}") for what in ("count", "sum")]
    answers = together(served, [[(SCALE, {"instances": values}) for values in each] for each in rows])
    for values, found in zip(rows, answers, strict=True):
        assert [answer.json() for answer in found] == [
            {"predictions": [3 * value for value in each]} for each in values
        ]
    batches, total = (
        served.metric(f"lading_batch_rows_{what}") - before
        for what, before in zip(("count", "sum"), counted, strict=True)
    )
    assert batches < 12 * 20, "requests did not share batches"
    assert total == sum(len(values) for each in rows for values in each)


def test_a_bad_request_fails_alone(served: Served) -> None:
    image = [[0.5] * 28] * 28
    expected = served.post(FASHION, {"instances": [image]}).json()["predictions"][0]
    serialized = {"signature_name": "classify", "examples": [{"x": 0.25}]}
    # Of another shape, which the graph refuses; no JSON; of a type that its operation refuses to parse.
    bad = [
        (FASHION, {"instances": [[[0.5] * 27] * 28]}),
        (FASHION, {"instances": "x"}),
        (EXAMPLES, {"examples": [{"x": 1}]}),
    ]
    good = [(FASHION, {"instances": [image]}), (EXAMPLES, serialized)]
    random.seed(7)
    lists = [random.sample(bad * 4 + good * 8, 28) for _ in range(8)]
    for bodies, answers in zip(lists, together(served, lists), strict=True):
        for body, answer in zip(bodies, answers, strict=True):
            if body in bad:
                assert answer.status_code == 400, answer.text
            elif body[0] == FASHION:
                assert answer.json()["predictions"][0] == pytest.approx(expected, abs=1e-5)
            else:
                assert answer.json() == {"results": [[["low", 0.75], ["hoch ä", 0.25]]]}


def test_what_tensorflow_serving_counts_of_batches(served: Served) -> None:
    name = ":tensorflow:serving:batching_session:"
    names = [
        *("wrapped_run_count", "queuing_latency_count", "input_batch_size_count", "input_batch_size_sum"),
        *("processed_batch_size_sum", "padding_size_sum"),
    ]
    before = [served.metric(name + each) for each in names]
    assert served.post(SCALE, {"instances": [1.0, 2.0, 3.0]}).ok
    after = [served.metric(name + each) for each in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 3, 8, 5]  # padded to 8 rows


def test_large_requests_are_divided(scale_versions: Path, tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(
        "max_batch_size { value: 100 } num_batch_threads { value: 1 } max_enqueued_batches { value: 1000 } "
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 16 }"
    )
    words = ("--port", "0", "--grpc-port", "off", "--batching", "--batching-parameters-file", str(file))
    with serving(f"scale={scale_versions / '3'}", *words) as served:
        sizes = [1, 7, 40, 100, 120]
        bodies = [[[float(1000 * n + row) for row in range(size)] for size in sizes] for n in range(8)]
        found = together(served, [[(SCALE, {"instances": values}) for values in each] for each in bodies])
        for each, answers in zip(bodies, found, strict=True):
            assert [answer.json() for answer in answers] == [
                {"predictions": [3 * value for value in values]} for values in each
            ]
        page = served.get("/metrics").text
        small, all_ = (
            int(re.search(rf'^lading_batch_rows_bucket{{model="scale",le="{le}"}} (\d+)$', page, re.M)[1])  # type: ignore[index]
            for le in ("16", r"\+Inf")
        )
        assert small == all_ >= 8 * (1 + 7 + 40 + 100) / 16  # no batch was larger


def test_more_rows_than_may_wait_are_refused(scale_versions: Path, tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(
        "max_batch_size { value: 2 } batch_timeout_micros { value: 300000 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 1 }"
    )
    words = ("--port", "0", "--grpc-port", "off", "--batching", "--batching-parameters-file", str(file))
    with serving(f"scale={scale_versions / '3'}", *words) as served:
        answers = together(served, [[(SCALE, {"instances": [float(client)]})] * 10 for client in range(10)])
        for client, found in enumerate(answers):
            for answer in found:
                if answer.status_code == 200:
                    assert answer.json() == {"predictions": [3.0 * client]}
                else:
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert {answer.status_code for found in answers for answer in found} == {200, 503}
