"""Two runs on one output: one works, the other is told; what a dead or suspended one leaves is taken over."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from claim_holder import HALF
from fakes.storage_faults import Fault
from storage_places import LEASE_SECONDS, Place, open_place

from lading.batch.objects import Objects
from lading.batch.segments import SegmentJournal
from lading.errors import RunInProgress

TESTS = Path(__file__).parent


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place(request.param, tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("bucket", tmp_path, monkeypatch) as opened:
        yield opened


class Holder:
    """The other run, a process."""

    def __init__(self, place: Place) -> None:
        path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "claim_holder.py"), place.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.pid = self._process.pid
        assert self.answer() == "claimed"

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def holding(place: Place) -> Iterator[Holder]:
    holder = Holder(place)
    try:
        yield holder
    finally:
        holder.kill()


def test_the_second_of_two_is_told_who_is_at_work(place: Place) -> None:
    first, second = place.outputs(), place.outputs()
    first.claim("17@first")
    with pytest.raises(RunInProgress, match=r"another run is at work on .*out: process 17@first\."):
        second.claim("18@second")
    first.check()
    first.release()
    second.claim("18@second")
    second.check()
    second.release()
    assert second.names("") == []


def test_a_claim_that_was_given_back_holds_no_more(place: Place) -> None:
    outputs = place.outputs()
    outputs.claim("17@first")
    outputs.release()
    outputs.release()
    with pytest.raises(RunInProgress):
        outputs.check()


def test_another_process_keeps_out_until_it_is_killed(place: Place) -> None:
    outputs = place.outputs()
    with holding(place) as holder:
        with pytest.raises(RunInProgress, match=f"process {holder.pid}@elsewhere"):
            outputs.claim("18@second")
        holder.tell("hold")
        assert holder.answer() == "done"
    outputs.claim("18@second")
    outputs.check()
    outputs.release()


def test_of_many_that_claim_at_once_one_gets_it(place: Place) -> None:
    every, got, told = [place.outputs() for _ in range(4)], [], []

    def claim(number: int) -> None:
        try:
            every[number].claim(f"{number}@here")
            got.append(number)
        except RunInProgress:
            told.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(told)) == (1, 3)
    every[got[0]].release()


def test_a_run_whose_lock_was_removed_notices(tmp_path: Path) -> None:
    outputs = Place(str(tmp_path)).outputs()
    outputs.claim("17@first")
    (tmp_path / "_lading" / "lock").unlink()
    with pytest.raises(RunInProgress, match="was lost"):
        outputs.check()
    outputs.release()


def test_a_suspended_run_is_replaced_and_notices_when_it_wakes(bucket: Place) -> None:
    with holding(bucket) as holder:
        holder.tell("append 1")
        assert holder.answer() == "done"
        holder.send(signal.SIGSTOP)
        outputs = bucket.outputs()
        outputs.claim("18@second")
        assert outputs.lines("_lading/journal") == [b"1"]
        outputs.append("_lading/journal", b"2")
        outputs.flush()
        holder.send(signal.SIGCONT)
        holder.tell("append zombie")
        assert "another run took it over" in holder.answer()
        holder.tell("hold")
        assert holder.answer().startswith("RunInProgress: the claim on gs://b/out was lost")
        outputs.check()
        assert outputs.lines("_lading/journal") == [b"1", b"2"]
        outputs.release()


def test_what_a_suspended_run_was_writing_does_not_replace_what_its_successor_wrote(bucket: Place) -> None:
    with holding(bucket) as holder:
        holder.tell("write part")
        assert holder.answer() == "half"
        holder.send(signal.SIGSTOP)
        outputs = bucket.outputs()
        outputs.claim("18@second")
        outputs.write("part", b"of the second")
        holder.send(signal.SIGCONT)
        holder.tell("")
        assert holder.answer().startswith("RunInProgress: gs://b/out/part was written by another run")
        assert outputs.read("part") == b"of the second"
        outputs.release()
    assert len(HALF) > 8 << 20  # else it would go up in one request, at the end


def test_of_two_writers_of_a_journal_the_later_one_is_told(bucket: Place) -> None:
    first, second = (SegmentJournal(Objects(bucket.uri), "journal", check=lambda: None) for _ in range(2))
    for journal, line in ((first, b"1"), (second, b"2")):
        journal.append(line)
        journal.flush()
    first.append(b"zombie")
    with pytest.raises(RunInProgress, match=r"journal/000002 was written by another run"):
        first.flush()
    with pytest.raises(RunInProgress):
        first.append(b"again")
    assert second.lines() == [b"1", b"2"]
    for journal in (first, second):
        journal.close()


def test_a_lease_is_taken_from_a_storage_that_stumbles_for_longer_than_it_lasts(bucket: Place) -> None:
    assert bucket.server is not None
    fault = Fault(method="POST", status=503, seconds=LEASE_SECONDS)
    bucket.server.faults.append(fault)
    outputs = bucket.outputs()
    outputs.claim("a")
    assert fault.hit.is_set()
    outputs.check()
    outputs.release()


def test_a_lease_outlives_a_storage_that_is_away_for_a_while(bucket: Place) -> None:
    assert bucket.server is not None
    outputs = bucket.outputs()
    outputs.claim("17@first")
    lock = bucket.server.buckets["b"]["out/_lading/lock.json"]
    bucket.server.denied.add("b")  # not tried again: each renewal fails at once
    threading.Event().wait(1.5 * LEASE_SECONDS)
    bucket.server.denied.clear()
    outputs.check()
    assert bucket.server.buckets["b"]["out/_lading/lock.json"].generation > lock.generation
    outputs.release()
