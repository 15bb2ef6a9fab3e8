"""Requests of several threads become batches, and nobody notices but the engine."""

import random
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorder import Array, Held, Recorder, rows

from lading.errors import EngineError, InvalidInput, InvalidInstance, Overloaded
from lading.predict.batching import BatchingConfig, BatchingEngine


def one_slot(**settings: Any) -> BatchingConfig:
    return BatchingConfig(num_batch_threads=1, **settings)


def test_what_waits_is_run_together_and_each_gets_its_rows(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    counted: list[int] = []
    batching = BatchingEngine(recorder, one_slot(), on_batch=lambda rows, _: counted.append(rows))
    held = Held(recorder, batching, pool)
    futures = held.submit("double", [rows(1, 2)], [rows(3)], [rows(4, 5, 6)])
    held.release()
    doubled = [future.result(20) for future in futures]
    assert [outputs[0].tolist() for outputs in doubled] == [[[2, 2], [4, 4]], [[6, 6]], [[8, 8], [10, 10], [12, 12]]]
    assert [outputs[1].tolist() for outputs in doubled] == [[2, 4], [6], [8, 10, 12]]
    assert recorder.ran == [[(1, 2)], [(6, 2)]]
    assert counted == [1, 6]


def test_a_lone_request_does_not_wait(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, one_slot())
    x = rows(1)
    assert batching.run("double", [x])[0].tolist() == [[2, 2]]
    assert recorder.given[0][0] is x  # not even copied
    assert not batching._queues


def test_only_what_agrees_in_shape_type_and_signature_is_run_together(
    recorder: Recorder, pool: ThreadPoolExecutor
) -> None:
    batching = BatchingEngine(recorder, one_slot())
    held = Held(recorder, batching, pool)
    wide, other = rows(2, width=3), rows(3).astype(np.int32)
    futures = [
        *held.submit("double", [rows(1)], [wide]),
        *held.submit("any", [rows(1)], [other]),
        *held.submit("double", [rows(4)], [wide]),
    ]
    held.release()
    assert [future.result(20)[0][0, 0] for future in futures] == [2, 4, 2, 6, 8, 4]
    assert sorted(recorder.ran[1:]) == sorted([[(2, 2)], [(2, 3)], [(1, 2)], [(1, 2)]])


def test_a_batch_is_never_larger_than_allowed(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, one_slot(max_batch_size=4))
    held = Held(recorder, batching, pool)
    futures = held.submit("double", *[[rows(n, n)] for n in range(5)], [rows(7)])
    large = pool.submit(batching.run, "double", [rows(*range(5))])
    held.release()
    assert [future.result(20)[0][0, 0] for future in [*futures, large]] == [0, 2, 4, 6, 8, 14, 0]
    sizes = sorted(shape[0] for ((*shape,),) in recorder.ran)
    assert sizes == [1, 3, 4, 4, 5]  # the first, then 2+2, 2+2, 2+1, and the large one alone


@pytest.mark.parametrize(("bad", "error"), [(13, InvalidInstance), (14, ZeroDivisionError)])
def test_one_bad_request_fails_alone(
    recorder: Recorder, pool: ThreadPoolExecutor, bad: int, error: type[Exception]
) -> None:
    batching = BatchingEngine(recorder, one_slot())
    held = Held(recorder, batching, pool)
    good, failed, other = held.submit("double", [rows(1)], [rows(bad)], [rows(2)])
    held.release()
    assert good.result(20)[0].tolist() == [[2, 2]]
    assert other.result(20)[0].tolist() == [[4, 4]]
    with pytest.raises(error, match=str(bad)):
        failed.result(20)
    assert recorder.ran[1] == [(3, 2)]


def test_a_request_that_fails_by_itself_is_run_once(recorder: Recorder) -> None:
    with pytest.raises(InvalidInstance):
        BatchingEngine(recorder, one_slot()).run("double", [rows(13)])
    assert len(recorder.ran) == 1


def test_the_slot_survives_failures(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, one_slot())
    for _ in range(3):
        with pytest.raises(InvalidInstance):
            batching.run("double", [rows(13)])
    assert batching.run("double", [rows(1)])[0].tolist() == [[2, 2]]


def test_padding_repeats_the_last_row_and_is_cut_off(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, one_slot(max_batch_size=8, allowed_batch_sizes=(2, 4, 8)))
    held = Held(recorder, batching, pool)
    futures = held.submit("double", [rows(1)], [rows(2, 3)], [rows(4, 5)])
    held.release()
    assert [future.result(20)[1].tolist() for future in futures] == [[2], [4, 6], [8, 10]]
    assert held.first.result()[1].tolist() == [198]
    assert recorder.ran == [[(2, 2)], [(8, 2)]]
    assert recorder.given[1][0][:, 0].tolist() == [1, 2, 3, 4, 5, 5, 5, 5]


def test_a_bad_request_in_a_padded_batch_fails_alone(recorder: Recorder) -> None:
    batching = BatchingEngine(recorder, one_slot(max_batch_size=8, allowed_batch_sizes=(8,)))
    with pytest.raises(InvalidInstance, match="13"):
        batching.run("double", [rows(13)])


def test_inputs_of_variable_length_are_filled_up_with_their_first_element(
    recorder: Recorder, pool: ThreadPoolExecutor
) -> None:
    batching = BatchingEngine(recorder, one_slot(pad_variable_length_inputs=True))
    held = Held(recorder, batching, pool)
    short, long = np.array([[7.0, 1.0]], np.float32), np.array([[1.0, 2.0, 3.0]], np.float32)
    empty = np.empty((1, 0), np.float32)
    futures = held.submit("double", [short], [long], [empty])
    held.release()
    assert [future.result(20)[0].tolist() for future in futures] == [[[14, 2, 14]], [[2, 4, 6]], [[0, 0, 0]]]


def test_strings(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, one_slot())
    held = Held(recorder, batching, pool)
    futures = held.submit("text", [np.array([b"a", b"bc"], object)], [np.array([b"\xff"], object)])
    held.release()
    assert [future.result(20)[0].tolist() for future in futures] == [[b"aa", b"bcbc"], [b"\xff\xff"]]


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("any", [np.float32(3)[...]]),  # no dimension
        ("two", [rows(1, 2), np.ones(1, np.float32)]),  # different first dimensions
        ("double", [np.empty((0, 2), np.float32)]),
        ("fixed", [rows(1)]),
        ("scalar", [rows(1)]),
    ],
)
def test_what_cannot_share_a_batch_runs_alone(
    recorder: Recorder, pool: ThreadPoolExecutor, name: str, arrays: list[Array]
) -> None:
    batching = BatchingEngine(recorder, one_slot())
    held = Held(recorder, batching, pool)
    alone = pool.submit(batching.run, name, arrays)
    assert recorder.entered.acquire(timeout=20)  # it runs although the only slot is taken
    held.release()
    assert alone.result(20)[0].shape == recorder.run(name, arrays)[0].shape


def test_outputs_without_the_batch_dimension_are_found_out_once(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, one_slot())
    held = Held(recorder, batching, pool)
    futures = held.submit("total", [rows(1)], [rows(2)])
    held.release()
    assert [future.result(20)[0].tolist() for future in futures] == [2, 4]
    assert recorder.ran[1] == [(2, 2)]
    held = Held(recorder, batching, pool)
    alone = pool.submit(batching.run, "total", [rows(5)])
    assert recorder.entered.acquire(timeout=20)
    held.release()
    assert alone.result(20)[0].tolist() == 10


def test_a_full_queue_refuses(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    batching = BatchingEngine(recorder, one_slot(max_batch_size=2, max_enqueued_batches=2))
    held = Held(recorder, batching, pool)
    futures = held.submit("double", *[[rows(n)] for n in range(4)])
    with pytest.raises(Overloaded, match="4 rows are waiting"):
        batching.run("double", [rows(5)])
    held.release()
    assert [future.result(20)[0][0, 0] for future in futures] == [0, 2, 4, 6]
    assert batching.run("double", [rows(5)])[0].tolist() == [[10, 10]]


def test_with_a_timeout_the_first_waits_for_others(recorder: Recorder, pool: ThreadPoolExecutor) -> None:
    waited: list[float] = []
    config = BatchingConfig(max_batch_size=3, batch_timeout_micros=60_000_000, num_batch_threads=2)
    batching = BatchingEngine(recorder, config, on_batch=lambda _, seconds: waited.append(seconds))
    futures = [pool.submit(batching.run, "double", [rows(n)]) for n in range(3)]
    assert [future.result(20)[0][0, 0] for future in futures] == [0, 2, 4]  # full long before the minute is over
    assert recorder.ran == [[(3, 2)]]


def test_the_timeout_ends_the_wait(recorder: Recorder) -> None:
    waited: list[float] = []
    batching = BatchingEngine(
        recorder, one_slot(batch_timeout_micros=20_000), on_batch=lambda _, seconds: waited.append(seconds)
    )
    assert batching.run("double", [rows(1)])[0].tolist() == [[2, 2]]
    assert waited[0] > 0.0199  # but for rounding


@pytest.mark.parametrize("timeout", [0, 200])
def test_64_threads_with_mixed_requests_get_the_right_answers(timeout: int) -> None:
    class Slow(Recorder):
        """Computing takes time, without the GIL: so that others queue up."""

        def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
            time.sleep(0.0005)
            return super().run(signature, arrays)

    config = BatchingConfig(
        max_batch_size=16, batch_timeout_micros=timeout, max_enqueued_batches=100, num_batch_threads=3
    )
    batches: list[int] = []
    batching = BatchingEngine(Slow(), config, on_batch=lambda rows, _: batches.append(rows))

    def work(seed: int) -> int:
        chosen = random.Random(seed)
        for number in range(150):
            x = np.full((chosen.choice((1, 1, 2, 5, 16, 20)), chosen.choice((1, 2, 3))), seed * 1000 + number, "f4")
            if chosen.random() < 0.03:
                with pytest.raises(InvalidInstance):
                    batching.run("double", [np.full_like(x, 13)])
            name = chosen.choice(("double", "any"))
            outputs = batching.run(name, [x])
            assert np.array_equal(outputs[0], x * 2)
            if name == "double":
                assert np.array_equal(outputs[1], x.sum(axis=1))
        return 150

    with ThreadPoolExecutor(64) as pool:
        total = sum(pool.map(work, range(1, 65), timeout=60))
    assert total == 64 * 150
    assert len(batches) < total  # some were put together
    assert max(batches) <= 16
    assert (batching._free, batching._queues, set(batching._waiting_rows.values())) == (3, {}, {0})


def test_close_closes_the_engine(recorder: Recorder) -> None:
    BatchingEngine(recorder, one_slot()).close()
    assert recorder.closed


def test_an_unknown_signature_is_the_engines_affair(recorder: Recorder) -> None:
    class Refusing(Recorder):
        def run(self, signature: str, arrays: Sequence[Array]) -> list[Array]:
            raise EngineError(f"no {signature}")

    with pytest.raises(EngineError, match="no nothing"):
        BatchingEngine(Refusing(), one_slot()).run("nothing", [rows(1)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0, expected 1 or more"),
        ({"batch_timeout_micros": -1, "num_batch_threads": -1}, "num_batch_threads is -1.*batch_timeout_micros is -1"),
        ({"allowed_batch_sizes": (4, 2), "max_batch_size": 2}, r"allowed_batch_sizes are \[4, 2\]"),
        ({"allowed_batch_sizes": (2, 4), "max_batch_size": 8}, r"last is max_batch_size \(8\)"),
    ],
)
def test_parameters_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        BatchingConfig(**settings)


def test_the_table_of_parameters_is_complete() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = text.partition("## Batching")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == [field.name for field in fields(BatchingConfig)]
