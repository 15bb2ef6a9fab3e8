"""What workers that share nothing but the output tell of their shards, and what the one that began the run takes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_places import open_place

from lading.batch.done import Done, Shard
from lading.batch.files import InputFile, Outputs
from lading.batch.options import BatchOptions
from lading.batch.parts import part_name
from lading.batch.plan import PARTS, Plan, PlannedFile
from lading.batch.spread import (
    Left,
    Told,
    attempt,
    check_attempt,
    forget_shards,
    left_files,
    missing,
    store_file,
    store_shard,
    stored_shard,
    take_files,
)
from lading.errors import LadingError, NotFound, RunInProgress


@pytest.fixture(params=["directory", "bucket"])
def outputs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outputs]:
    with open_place(request.param, tmp_path, monkeypatch) as place:
        opened = place.outputs()
        opened.claim("1@here")
        try:
            yield opened
        finally:
            opened.release()


@pytest.fixture
def plan() -> Plan:
    files = tuple(
        PlannedFile(InputFile(f"/in/{n}.jsonl", f"{n}.jsonl", 100, f"mtime:{n}"), "jsonl", f"{n}.jsonl")
        for n in range(3)
    )
    options = BatchOptions(key_field="id", passthrough=("a", "b"), shard_bytes=7)
    return Plan(files, options, 64, "serving_default", "sha256:00", "tensorflow")


def shard(number: int, *, bad: int = 0) -> Shard:
    return Shard(10 * (number + 1), 5 * (number + 1), 5, bad, Counter({"no number": bad} if bad else {}))


def store(outputs: Outputs, file: int, *numbers: int) -> None:
    for number in numbers:
        outputs.write(part_name(PARTS, file, number), b"predictions")
        store_shard(outputs, file, number, shard(number))


def test_a_plan_is_read_back_as_it_was_stored(outputs: Outputs, plan: Plan) -> None:
    with pytest.raises(NotFound, match=r"manifest\.json is gone"):
        Plan.load(outputs)
    plan.store(outputs)
    assert Plan.load(outputs) == plan


def test_workers_of_another_attempt_stop(outputs: Outputs) -> None:
    with attempt(outputs) as first:
        check_attempt(outputs, first)
        with attempt(outputs) as second:
            check_attempt(outputs, second)
            with pytest.raises(RunInProgress, match="another one was begun"):
                check_attempt(outputs, first)
    with pytest.raises(RunInProgress, match="who began it has ended"):
        check_attempt(outputs, first)


def test_a_shard_is_kept_when_both_its_part_and_its_note_are_there(outputs: Outputs, plan: Plan) -> None:
    store(outputs, 1, 0, 2)
    store(outputs, 2, 0)
    outputs.remove([part_name(PARTS, 1, 2)])
    outputs.write(part_name(PARTS, 2, 1), b"predictions")
    outputs.write(f"{part_name(PARTS, 2, 1)}.x7", b"a worker was killed while it wrote")
    assert left_files(outputs, Done(outputs, plan)) == [Left(0, ()), Left(1, (0,)), Left(2, (0,))]
    assert stored_shard(outputs, 1, 0) == shard(0)


def test_files_are_taken_into_the_journal_once(outputs: Outputs, plan: Plan) -> None:
    done = Done(outputs, plan)
    done.shard(0, shard(0))  # by a run on one machine
    store(outputs, 0, 1, 2)
    told = [Told(number, shard(number, bad=number)) for number in (1, 2)]
    for _ in range(2):  # an attempt whose end nobody saw told of it, and the next one again
        store_file(outputs, 0, first=1, told=told, problem="")
        assert take_files(outputs, done) == {}
        assert (done.files[0].shards, done.files[0].rows, done.files[0].bad) == (3, 15, 3)
    outputs.flush()
    assert Done(outputs, plan).files == done.files
    assert outputs.names(PARTS) == []
    forget_shards(outputs, done)
    assert outputs.names("_lading/beam") == []


def test_a_file_that_cannot_be_read_keeps_what_was_read_of_it(outputs: Outputs, plan: Plan) -> None:
    done = Done(outputs, plan)
    store(outputs, 1, 0)
    store_file(outputs, 1, first=0, told=[Told(0, shard(0, bad=2))], problem="it ends in the middle")
    failed = take_files(outputs, done)
    assert failed == {1: "it ends in the middle"}
    assert (done.files[1].shards, done.files[1].bad, done.files[1].is_whole) == (1, 2, False)
    assert outputs.names(PARTS) == [part_name(PARTS, 1, 0)]
    with pytest.raises(LadingError, match="no worker told what came of 2 of the files"):
        missing(done, failed)
