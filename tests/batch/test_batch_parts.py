"""The small parts of a run: names, sizes, limits, the pipeline of threads."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lading.batch.limit import Limit
from lading.batch.naming import errors_stats_name, format_of, output_names
from lading.batch.options import BatchOptions
from lading.batch.pipeline import Pipeline
from lading.batch.size import choose_batch_size
from lading.errors import InvalidInput, StorageError
from lading.predict.signature import Signature, TensorSpec


def _signature(*shape: int | None, dtype: str = "float32", data_type: int = 1) -> Signature:
    spec = TensorSpec("x", np.dtype(dtype), shape, "x:0", data_type)
    return Signature("serving_default", "", {"x": spec}, {"y": spec})


def test_json_lines_keep_their_tree_and_their_names() -> None:
    names = ["2026/a.jsonl", "2026/b.txt", "c", "d.jsonl.gz"]
    assert output_names(names, BatchOptions(), ".jsonl") == ["2026/a.jsonl", "2026/b.txt", "c", "d.jsonl"]


def test_other_formats_get_their_own_ending_and_never_collide() -> None:
    options = BatchOptions(output_format="csv", compression="gzip")
    assert output_names(["a.jsonl", "b.parquet"], options, ".csv") == ["a.csv.gz", "b.csv.gz"]
    assert output_names(["a.jsonl", "a.parquet"], BatchOptions(output_format="csv"), ".csv") == [
        "a.jsonl.csv",
        "a.parquet.csv",
    ]
    names = ["a.csv", "a.csv.jsonl", "a.parquet"]
    assert output_names(names, BatchOptions(), ".jsonl") == ["a.csv.jsonl", "a.csv.jsonl.jsonl", "a.parquet.jsonl"]


def test_ai_platforms_results_are_numbered() -> None:
    options = BatchOptions(output_format="ai-platform")
    assert output_names(["x/a", "x/b"], options, "") == [
        "prediction.results-00000-of-00002",
        "prediction.results-00001-of-00002",
    ]
    assert errors_stats_name(1, 2) == "prediction.errors_stats-00001-of-00002"


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.CSV", "csv"), ("a.csv.gz", "csv"), ("a.tfrecords", "tfrecord"), ("a.parquet", "parquet"), ("part-0", "jsonl")],
)
def test_a_format_is_known_by_the_name(name: str, format: str) -> None:
    assert format_of(name, BatchOptions()) == format
    assert format_of(name, BatchOptions(input_format="tfrecord")) == "tfrecord"


def test_options_say_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"xml.*batch_size.*-1.*'id' is the key") as told:
        BatchOptions(input_format="xml", batch_size=-1, key_field="id", passthrough=("id",))
    assert "jsonl, csv, tfrecord, parquet" in str(told.value)


def test_options_are_read_from_json() -> None:
    text = '{"input_format": "csv", "passthrough": ["a", "b"], "batch_size": 8.0}'  # 8.0: as KFP writes an 8
    assert BatchOptions.from_json(text) == BatchOptions(input_format="csv", passthrough=("a", "b"), batch_size=8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "JSON object"),
        ("{", "JSON object"),
        ('{"batchsize": 8}', "no such option: batchsize .*batch_size"),
        ('{"batch_size": "8"}', "expected int as the option batch_size, received '8'"),
        ('{"batch_size": true}', "expected int"),
        ('{"batch_size": 8.5}', "expected int"),
        ('{"passthrough": "a"}', "a list of strings"),
    ],
)
def test_options_that_are_none_are_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        BatchOptions.from_json(text)


@pytest.mark.parametrize(
    ("shape", "size"), [((None, 28, 28), 1024), ((None, 224, 224, 3), 4), ((None, 4000, 4000), 1), ((None, None), 64)]
)
def test_the_batch_size_follows_the_size_of_a_row(shape: tuple[int | None, ...], size: int) -> None:
    assert choose_batch_size(_signature(*shape), 0) == size
    assert choose_batch_size(_signature(*shape), 7) == 7


def test_a_signature_may_insist_on_its_batch_size() -> None:
    assert choose_batch_size(_signature(8, 2), 0) == 8
    with pytest.raises(InvalidInput, match="takes 8 rows a call, received a batch size of 16"):
        choose_batch_size(_signature(8, 2), 16)


def test_a_limit_is_a_count_or_a_share() -> None:
    assert not Limit.parse("2").is_exceeded(2, 10)
    assert Limit.parse("2").is_exceeded(3, 10)
    assert Limit.parse("2").ends_run(3, 10)
    assert not Limit.parse("50%").is_exceeded(5, 10)
    assert Limit.parse("0.5%").is_exceeded(1, 100)
    assert Limit.parse("0%").is_exceeded(1, 100)


def test_a_share_is_judged_at_the_end_but_a_hopeless_run_ends() -> None:
    limit = Limit.parse("1%")
    assert not limit.ends_run(999, 999)
    assert limit.ends_run(1000, 1000)
    assert not limit.ends_run(1000, 1001)
    assert not Limit.parse("100%").ends_run(5000, 5000)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%", "%", "١"])
def test_no_limit(text: str) -> None:
    with pytest.raises(InvalidInput, match="a count, or a share as 1%"):
        Limit.parse(text)


def test_the_pipeline_keeps_the_order_and_bounds_what_is_in_memory() -> None:
    alive, most, taken = set[int](), [0], list[int]()
    lock = threading.Lock()

    def items() -> Iterator[int]:
        for number in range(200):
            with lock:
                alive.add(number)
                most[0] = max(most[0], len(alive))
            yield number

    def compute(number: int) -> int:
        time.sleep(0.0005 * (number % 3))  # so that later ones are ready first
        return number * 2

    def take(number: int, result: int) -> None:
        with lock:
            alive.discard(number)
        taken.append(result)

    Pipeline(items(), compute, take, threads=4).run(lambda: None, seconds=1)
    assert taken == [number * 2 for number in range(200)]
    assert most[0] <= 4 + 1 + 3  # those that wait, and one in the hands of the reader, a thread and the writer


@pytest.mark.parametrize("where", ["read", "compute", "take", "each"])
def test_an_error_anywhere_ends_the_pipeline(where: str) -> None:
    def failing(part: str, number: int) -> int:
        if part == where and number == 20:
            raise StorageError(f"no more in {part}")
        return number

    def items() -> Iterator[int]:
        for number in range(100_000):
            yield failing("read", number)

    pipeline = Pipeline(
        items(),
        lambda number: failing("compute", number),
        lambda number, _: failing("take", number) and None,
        threads=3,
    )
    with pytest.raises(StorageError, match=f"no more in {where}"):
        pipeline.run(lambda: failing("each", 20) and None, seconds=0.01)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("batch-")]


def test_a_pipeline_can_be_stopped() -> None:
    taken: list[int] = []
    pipeline: Pipeline[int, int]

    def take(number: int, _: int) -> None:
        taken.append(number)
        if number == 50:
            pipeline.stop()

    pipeline = Pipeline(iter(range(10_000)), lambda number: number, take, threads=3)
    pipeline.run(lambda: None, seconds=1)
    assert taken == list(range(51))
