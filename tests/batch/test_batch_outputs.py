"""The output directory of a run: the same promises on this machine, in a bucket, and against another server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_places import KINDS, Emulator, Place, open_place

from lading.errors import InvalidInput, NotFound, StorageError

JOURNAL = "_lading/progress.jsonl"
LARGE = bytes(range(256)) * 40_000  # more than one request carries


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with open_place(request.param, tmp_path, monkeypatch, emulator=emulator) as opened:
        yield opened


def test_what_is_written_can_be_read(place: Place) -> None:
    outputs = place.outputs()
    assert outputs.read("deep/a") is None
    outputs.write("deep/a", b"1")
    outputs.write("deep/a", [b"2", b"", b"3"])
    outputs.write("empty", [])
    outputs.write("large", iter([LARGE[:1_000_000], LARGE[1_000_000:]]))
    assert outputs.read("deep/a") == b"23"
    assert outputs.read("empty") == b""
    assert b"".join(outputs.stream("large")) == outputs.read("large") == LARGE
    assert b"".join(outputs.stream("empty")) == b""
    with pytest.raises(NotFound, match="nope"):
        list(outputs.stream("nope"))


def test_names_are_those_below_a_directory(place: Place) -> None:
    outputs = place.outputs()
    assert outputs.names("") == outputs.names("a") == []
    for name in ("b", "a/2", "a/10", "a-old/1"):
        outputs.write(name, b"")
    assert outputs.names("") == ["a-old/1", "a/10", "a/2", "b"]
    assert outputs.names("a") == ["a/10", "a/2"]
    outputs.remove(["a/2", "nope", "b"])
    assert outputs.names("") == ["a-old/1", "a/10"]


@pytest.mark.parametrize("count", [0, 1, 3, 32, 33, 70])
def test_parts_are_joined_in_order_and_stay(place: Place, count: int) -> None:
    outputs = place.outputs()
    names = [f"_lading/parts/{number:06d}" for number in range(count)]
    for number, name in enumerate(names):
        outputs.write(name, b"%d\n" % number if number % 5 else b"")
    whole = b"".join(b"%d\n" % number for number in range(count) if number % 5)
    for _ in range(2):  # a run that was killed just after does it again
        outputs.concatenate(names, "deep/whole")
        assert outputs.read("deep/whole") == whole
    assert outputs.names("") == [*names, "deep/whole"]
    if place.server:
        composed = [path for path in place.server.requests if "/compose" in path]
        assert len(composed) == {0: 0, 33: 4, 70: 6}.get(count, 2)


def test_a_missing_part_is_named_and_no_file_appears(place: Place) -> None:
    outputs = place.outputs()
    outputs.write("1", b"1")
    for names in (["1", "nope"], ["nope"]):
        with pytest.raises(NotFound):
            outputs.concatenate(names, "whole")
    assert outputs.names("") == ["1"]


def test_the_old_content_stays_until_all_of_the_new_is_there(place: Place) -> None:
    outputs = place.outputs()
    outputs.write("a", b"old")

    def broken() -> Iterator[bytes]:
        yield LARGE
        assert outputs.read("a") == b"old"
        raise StorageError("the source failed")

    with pytest.raises(StorageError, match="the source failed"):
        outputs.write("a", broken())
    assert outputs.read("a") == b"old"
    assert outputs.names("") == ["a"]


def test_a_journal_keeps_its_lines_in_order(place: Place) -> None:
    outputs = place.outputs()
    outputs.claim("1@here")
    assert outputs.lines(JOURNAL) == []
    lines = [b'{"n": %d}' % number for number in range(20)]
    for line in lines[:7]:
        outputs.append(JOURNAL, line)
    outputs.flush()
    assert place.outputs().lines(JOURNAL) == lines[:7]
    outputs.append(JOURNAL, lines[7])
    outputs.release()
    again = place.outputs()
    again.claim("2@here")
    for line in lines[8:]:
        again.append(JOURNAL, line)
    assert again.lines(JOURNAL) == lines
    again.remove(again.names(JOURNAL) or [JOURNAL])
    assert again.lines(JOURNAL) == []
    again.append(JOURNAL, b"anew")
    again.release()
    assert place.outputs().lines(JOURNAL) == [b"anew"]


def test_what_is_recorded_is_durable_before_files_go(place: Place) -> None:
    outputs = place.outputs()
    outputs.claim("1@here")
    outputs.write("part", b"1")
    outputs.append(JOURNAL, b"the part is not needed any more")
    outputs.remove(["part"])
    assert place.outputs().lines(JOURNAL) == [b"the part is not needed any more"]
    outputs.release()


def test_what_a_killed_run_left_unfinished_goes_with_the_next_claim(place: Place) -> None:
    outputs = place.outputs()
    outputs.write("_lading/scratch/x", b"half")
    outputs.claim("1@here")
    assert [name for name in outputs.names("") if "lock" not in name] == []
    outputs.release()
    assert outputs.names("") == []


def test_a_journal_that_was_torn_loses_its_last_line_only(tmp_path: Path) -> None:
    outputs = Place(str(tmp_path)).outputs()
    outputs.append(JOURNAL, b"1")
    outputs.release()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"half')
    again = Place(str(tmp_path)).outputs()
    assert again.lines(JOURNAL) == [b"1"]
    again.append(JOURNAL, b"2")
    assert again.lines(JOURNAL) == [b"1", b"2"]
    again.release()
    assert (tmp_path / JOURNAL).read_bytes() == b"1\n2\n"


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../x"])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of a file below"):
        Place(str(tmp_path)).outputs().write(name, b"")


def test_a_file_that_was_joined_from_one_part_is_its_own(tmp_path: Path) -> None:
    outputs = Place(str(tmp_path)).outputs()
    outputs.write("part", b"old")
    outputs.concatenate(["part"], "whole")
    outputs.write("part", b"new")
    assert outputs.read("whole") == b"old"
