"""Requests that one thread has at the same time become batches; ``test_batching.py`` has those of several threads."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from recorder import Array, Held, Recorder, rows

from lading.errors import InvalidInstance, Overloaded
from lading.predict.batching import BatchingConfig, BatchingEngine


class Heard:
    """What a monitor is told."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int]] = []
        self.batches: list[tuple[int, int, int]] = []

    def queued(self, rows: int, inputs: int) -> None:
        self.waiting.append((rows, inputs))

    def ran(self, size: int, padding: int, waited_seconds: Sequence[float]) -> None:
        assert all(0 <= seconds < 60 for seconds in waited_seconds)
        self.batches.append((size, padding, len(waited_seconds)))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def together(batching: BatchingEngine, name: str, *requests: Sequence[Array], seconds: float = 60.0) -> list[Any]:
    now = time.perf_counter()
    return batching.run_together(name, requests, since=[now] * len(requests), until=now + seconds)


def test_each_gets_its_rows_of_one_call(recorder: Recorder) -> None:
    counted: list[int] = []
    heard = Heard()
    batching = BatchingEngine(recorder, BatchingConfig(), on_batch=lambda rows, _: counted.append(rows), monitor=heard)
    found = together(batching, "double", [rows(1, 2)], [rows(3)], [rows(4, 5, 6)])
    assert [outputs[0].tolist() for outputs in found] == [[[2, 2], [4, 4]], [[6, 6]], [[8, 8], [10, 10], [12, 12]]]
    assert [outputs[1].tolist() for outputs in found] == [[2, 4], [6], [8, 10, 12]]
    assert recorder.ran == [[(6, 2)]]
    assert counted == [6]
    assert (heard.waiting, heard.batches) == ([(2, 1), (1, 1), (3, 1)], [(6, 0, 3)])


def test_what_differs_does_not_share_a_call(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig())
    requests = [[rows(1)], [rows(2, width=3)], [rows(3)], [rows(4).astype(np.int32)], [rows(5, width=3)]]
    found = together(batching, "any", *requests)
    assert [outputs[0][0, 0] for outputs in found] == [2, 4, 6, 8, 10]
    assert sorted(recorder.ran) == [[(1, 2)], [(2, 2)], [(2, 3)]]


def test_a_bad_request_fails_alone(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig())
    found = together(batching, "double", [rows(1)], [rows(13)], [rows(14)], [rows(2)])
    assert [type(outcome) for outcome in found] == [list, InvalidInstance, ZeroDivisionError, list]
    assert (found[0][0][0, 0], found[3][0][0, 0]) == (2, 4)
    assert [type(outcome) for outcome in together(batching, "double", [rows(13)])] == [InvalidInstance]
    assert recorder.ran[-1] == [(1, 2)]
    assert len(recorder.ran) == 1 + 4 + 1  # the batch, each by itself, and one that was alone from the beginning


def test_what_has_no_rows_in_common_runs_alone(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig())
    assert [outputs[0] for outputs in together(batching, "total", [rows(1)], [rows(2)])] == [2, 4]
    assert recorder.ran == [[(2, 2)], [(1, 2)], [(1, 2)]]  # found out by trying once
    together(batching, "total", [rows(1)], [rows(2)])
    together(batching, "fixed", [rows(1)], [rows(2)])
    assert recorder.ran[3:] == [[(1, 2)]] * 4


def test_batches_have_at_most_the_size_allowed_and_are_padded(recorder: Recorder) -> None:
    heard = Heard()
    config = BatchingConfig(max_batch_size=4, allowed_batch_sizes=(3, 4))
    batching = BatchingEngine(recorder, config, monitor=heard)
    found = together(batching, "double", *[[rows(n, n)] for n in range(3)], [rows(*range(5))])
    assert [outputs[0].tolist() for outputs in found[:3]] == [[[0, 0]] * 2, [[2, 2]] * 2, [[4, 4]] * 2]
    assert found[3][0][:, 0].tolist() == [0, 2, 4, 6, 8]
    assert recorder.ran == [[(4, 2)], [(3, 2)], [(5, 2)]]
    assert heard.batches == [(4, 0, 2), (3, 1, 1)]


def test_more_rows_than_may_wait_are_refused(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig(max_batch_size=2, max_enqueued_batches=1))
    found = together(batching, "double", *[[rows(n)] for n in range(6)])
    assert [outputs[0][0, 0] for outputs in found[:4]] == [0, 2, 4, 6]  # two rows at once, two wait
    assert [type(outcome) for outcome in found[4:]] == [Overloaded] * 2


def test_nothing_runs_while_others_have_all_slots(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, BatchingConfig(num_batch_threads=1))
    held = Held(recorder, batching, pool)
    assert together(batching, "double", [rows(1)], [rows(2)]) == [None, None]
    held.release()
    assert [outputs[0][0, 0] for outputs in together(batching, "double", [rows(1)], [rows(2)])] == [2, 4]
    assert recorder.ran == [[(1, 2)], [(2, 2)]]


def test_nothing_more_begins_when_the_time_is_over(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig())
    assert together(batching, "double", [rows(1)], [rows(2)], seconds=-1) == [None, None]
    assert together(batching, "fixed", [rows(1)], seconds=-1) == [None]
    assert recorder.ran == []
    assert batching.run("double", [rows(1)])[0][0, 0] == 2  # the slot was given back
