"""Writing to a bucket that stumbles: what is there afterwards is what would be there anyway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.storage_faults import Fault
from storage_places import Place, open_place

from lading.errors import StorageError

LARGE = bytes(range(256)) * (72 << 10)  # three pieces


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("bucket", tmp_path, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/upload", status=503),
        Fault("POST", "/upload", lost=True),
        Fault("PUT", "/upload", status=503),
        Fault("PUT", "/upload", status=429, times=2),
        Fault("PUT", "/upload", lost=True, times=3),
        Fault("GET", "/o/", status=500),
        Fault("GET", "/o/", lost=True),
        Fault(cut=1),
    ],
    ids=lambda fault: f"{fault.method or 'any'}-{fault.status or ('lost' if fault.lost else 'cut')}-{fault.times}",
)
def test_what_is_written_arrives_whole_and_once(place: Place, fault: Fault) -> None:
    assert place.server is not None
    outputs = place.outputs()
    place.server.faults.append(fault)
    outputs.write("small", b"1")
    outputs.write("large", [LARGE])
    outputs.write("small", b"2")
    assert fault.times == 0
    assert outputs.read("small") == b"2"
    assert b"".join(outputs.stream("large")) == LARGE


@pytest.mark.parametrize("fault", [Fault(path="compose", lost=True, times=2), Fault(path="compose", status=503)])
def test_parts_are_joined_once_though_an_answer_is_lost(place: Place, fault: Fault) -> None:
    assert place.server is not None
    outputs = place.outputs()
    names = [f"parts/{number:02d}" for number in range(40)]
    for name in names:
        outputs.write(name, name.encode())
    place.server.faults.append(fault)
    outputs.concatenate(names, "whole")
    assert fault.times == 0
    assert outputs.read("whole") == "".join(names).encode()
    assert outputs.names("") == [*names, "whole"]


def test_a_claim_and_a_journal_survive_lost_answers(place: Place) -> None:
    assert place.server is not None
    outputs = place.outputs(lease_seconds=30.0)
    place.server.faults += [Fault("POST", "/upload", lost=True), Fault("POST", "/upload", lost=True)]
    outputs.claim("17@here")
    for line in (b"1", b"2"):
        place.server.faults.append(Fault("POST", "/upload", lost=True))
        outputs.append("journal", line)
        outputs.flush()
    outputs.check()
    assert outputs.lines("journal") == [b"1", b"2"]
    place.server.faults.append(Fault("DELETE", lost=True))
    outputs.remove(["journal/000001", "journal/000002"])
    outputs.release()
    assert place.outputs().names("") == []


def test_a_storage_that_stays_away_is_told_and_the_old_content_is_there(place: Place) -> None:
    assert place.server is not None
    outputs = place.outputs(patience_seconds=0.5)
    outputs.write("large", b"old")
    for fault in (Fault("PUT", status=503, times=1000), Fault("PUT", lost=True, times=1000)):
        place.server.faults[:] = [fault]
        with pytest.raises(StorageError, match="gs://b/out/large: Cloud Storage"):
            outputs.write("large", [LARGE])
    assert outputs.read("large") == b"old"


def test_a_journal_that_cannot_be_written_says_so_to_who_writes(place: Place) -> None:
    assert place.server is not None
    outputs = place.outputs(patience_seconds=0.5, lease_seconds=30.0)
    outputs.claim("17@here")
    place.server.faults.append(Fault("POST", "/upload", status=503, times=1000))
    outputs.append("journal", b"1")
    with pytest.raises(StorageError, match="kept answering 503"):
        outputs.flush()
    with pytest.raises(StorageError, match="kept answering 503"):
        outputs.append("journal", b"2")
    outputs.release()
    assert place.outputs().lines("journal") == []


def test_workers_of_one_run_may_write_the_same_file_at_once(place: Place) -> None:
    first, second = place.outputs(), place.outputs()

    def while_it_is_written() -> Iterator[bytes]:
        yield LARGE
        second.write("part", LARGE + b"end")
        yield b"end"

    first.write("part", while_it_is_written())
    assert b"".join(first.stream("part")) == LARGE + b"end"
