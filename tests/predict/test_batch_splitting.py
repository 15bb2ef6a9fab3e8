"""Requests that are divided between batches: ``enable_large_batch_splitting``."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from recorder import Array, Held, Recorder, rows

from lading.errors import InvalidInput, InvalidInstance
from lading.predict.batching import BatchingConfig, BatchingEngine


def splitting(**settings: Any) -> BatchingConfig:
    return BatchingConfig(num_batch_threads=1, enable_large_batch_splitting=True, **settings)


def test_a_large_request_fills_the_batch_that_forms(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, splitting(max_batch_size=10, max_execution_batch_size=4))
    held = Held(recorder, batching, pool)
    futures = held.submit("double", [rows(1, 2, 3)], [rows(4, 5, 6, 7, 8, 9)], [rows(10, 11)])
    held.release()
    answers = [future.result(20) for future in futures]
    assert [outputs[0][:, 0].tolist() for outputs in answers] == [[2, 4, 6], [8, 10, 12, 14, 16, 18], [20, 22]]
    assert [outputs[1].tolist() for outputs in answers] == [[2, 4, 6], [8, 10, 12, 14, 16, 18], [20, 22]]
    assert [shape[0] for ((*shape,),) in recorder.ran] == [1, 4, 4, 3]
    assert (batching._free, batching._queues, batching._waiting_rows["double"]) == (1, {}, 0)


def test_a_lone_large_request_is_computed_in_parts(recorder: Recorder) -> None:
    counted: list[int] = []
    config = splitting(max_batch_size=16, max_execution_batch_size=4)
    batching = BatchingEngine(recorder, config, on_batch=lambda rows, _: counted.append(rows))
    assert batching.run("double", [rows(*range(10))])[1].tolist() == [2 * n for n in range(10)]
    assert counted == [4, 4, 2]


def test_without_splitting_its_size_is_not_looked_at(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, BatchingConfig(max_batch_size=16, max_execution_batch_size=4))
    batching.run("double", [rows(*range(10))])
    assert recorder.ran == [[(10, 2)]]


def test_parts_that_others_run_while_the_own_thread_is_busy(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    config = BatchingConfig(
        max_batch_size=9, max_execution_batch_size=3, num_batch_threads=2, enable_large_batch_splitting=True
    )
    batching = BatchingEngine(recorder, config)
    recorder.open.clear()
    large = pool.submit(batching.run, "double", [rows(*range(9))])
    assert recorder.entered.acquire(timeout=20)  # its first part runs, and its thread with it
    small = pool.submit(batching.run, "double", [rows(20)])
    assert recorder.entered.acquire(timeout=20)  # the second slot is not left unused: the small one's thread helps
    recorder.open.set()
    assert large.result(20)[1].tolist() == [2 * n for n in range(9)]
    assert small.result(20)[1].tolist() == [40]
    assert sorted(shape[0] for ((*shape,),) in recorder.ran) == [1, 3, 3, 3]


@pytest.mark.parametrize(("bad", "error"), [(13, InvalidInstance), (14, ZeroDivisionError)])
def test_a_divided_request_that_is_bad_fails_alone(
    recorder: Recorder, pool: ThreadPoolExecutor, bad: int, error: type[Exception]
) -> None:
    batching = BatchingEngine(recorder, splitting(max_batch_size=8, max_execution_batch_size=3))
    held = Held(recorder, batching, pool)
    before, failed, after = held.submit("double", [rows(1, 2)], [rows(bad, 4, 5, 6, 7, 8)], [rows(9)])
    held.release()
    assert before.result(20)[1].tolist() == [2, 4]
    assert after.result(20)[1].tolist() == [18]
    with pytest.raises(error, match=str(bad)):
        failed.result(20)
    assert max(shape[0] for ((*shape,),) in recorder.ran) == 3
    assert (batching._free, batching._queues, batching._waiting_rows["double"]) == (1, {}, 0)


def test_a_request_over_the_largest_is_computed_in_parts_too(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, splitting(max_batch_size=4, max_execution_batch_size=2))
    assert batching.run("double", [rows(*range(7))])[1].tolist() == [2 * n for n in range(7)]
    assert [shape[0] for ((*shape,),) in recorder.ran] == [2, 2, 2, 1]


def test_a_request_that_can_never_be_queued_is_computed_all_the_same(recorder: Recorder) -> None:
    config = splitting(max_batch_size=100, max_execution_batch_size=2, max_enqueued_batches=1)
    assert BatchingEngine(recorder, config).run("double", [rows(*range(5))])[1].tolist() == [0, 2, 4, 6, 8]


def test_what_has_no_rows_in_its_answer_is_not_divided(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, splitting(max_batch_size=8, max_execution_batch_size=2))
    for _ in range(2):
        assert batching.run("total", [rows(1, 2, 3)])[0].tolist() == 12
        assert batching.run("fixed", [rows(1, 2, 3)])[0].tolist() == [[2, 2], [4, 4], [6, 6]]
    assert recorder.ran.count([(3, 2)]) == 4


def test_parts_whose_answers_do_not_fit_together_are_computed_as_a_whole(
    recorder: Recorder, pool: ThreadPoolExecutor
) -> None:
    config = splitting(max_batch_size=8, max_execution_batch_size=2, pad_variable_length_inputs=True)
    batching = BatchingEngine(recorder, config)
    held = Held(recorder, batching, pool)
    wide, narrow = held.submit("any", [rows(1, width=3)], [rows(2, 3, 4)])
    held.release()
    assert wide.result(20)[0].tolist() == [[2, 2, 2]]
    assert narrow.result(20)[0].tolist() == [[4, 4], [6, 6], [8, 8]]


@pytest.mark.parametrize("timeout", [0, 200])
def test_64_threads_with_divided_requests_get_the_right_answers(timeout: int) -> None:
    class Slow(Recorder):
        def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
            time.sleep(0.0005)
            return super().run(signature, arrays)

    config = BatchingConfig(
        max_batch_size=20, batch_timeout_micros=timeout, max_enqueued_batches=200, num_batch_threads=3,
        enable_large_batch_splitting=True, max_execution_batch_size=8,
    )  # fmt: skip
    batches: list[int] = []
    recorder = Slow()
    batching = BatchingEngine(recorder, config, on_batch=lambda rows, _: batches.append(rows))

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        for number in range(100):
            count, width = chosen.choice((1, 2, 5, 7, 9, 20, 23)), chosen.choice((1, 2))
            x = (np.arange(count * width).reshape(count, width) + seed * 1000 + number * 50 + 20).astype("f4")
            if chosen.random() < 0.05:
                bad = x.copy()
                bad[chosen.randrange(count), 0] = chosen.choice((13, 14))
                with pytest.raises((InvalidInstance, ZeroDivisionError)):
                    batching.run("double", [bad])
            outputs = batching.run("double", [x])
            assert np.array_equal(outputs[0], x * 2)
            assert np.array_equal(outputs[1], x.sum(axis=1))

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(1, 65), timeout=100))
    assert max(batches) == 8
    assert max(shape[0] for ((*shape,),) in recorder.ran) == 8
    assert (batching._free, batching._queues, set(batching._waiting_rows.values())) == (3, {}, {0})


def test_the_largest_batch_is_no_larger_than_a_request() -> None:
    with pytest.raises(InvalidInput, match=r"max_execution_batch_size is 9, expected 1 to max_batch_size \(8\)"):
        splitting(max_batch_size=8, max_execution_batch_size=9)
    with pytest.raises(InvalidInput, match="max_execution_batch_size is 0"):
        splitting(max_execution_batch_size=0)
    assert BatchingConfig(max_batch_size=8, max_execution_batch_size=9).largest_batch == 8  # it is not looked at


def test_a_monitor_is_told_of_requests_and_batches(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    class Told:
        def __init__(self) -> None:
            self.requests: list[tuple[int, int]] = []
            self.batches: list[tuple[int, int, int]] = []

        def queued(self, rows: int, inputs: int) -> None:
            self.requests.append((rows, inputs))

        def ran(self, size: int, padding: int, waited_seconds: Sequence[float]) -> None:
            assert all(seconds >= 0 for seconds in waited_seconds)
            self.batches.append((size, padding, len(waited_seconds)))

    told = Told()
    config = splitting(max_batch_size=8, max_execution_batch_size=4, allowed_batch_sizes=(1, 2, 4, 8))
    batching = BatchingEngine(recorder, config, monitor=told)
    held = Held(recorder, batching, pool)
    futures = held.submit("double", [rows(1, 2)], [rows(3, 4, 5, 6, 7)])
    held.release()
    [future.result(20) for future in futures]
    assert told.requests == [(1, 1), (2, 1), (5, 1)]
    assert sorted(told.batches) == [(1, 0, 1), (4, 0, 2), (4, 1, 1)]
