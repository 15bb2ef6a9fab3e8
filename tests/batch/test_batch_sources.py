"""Input files as streams: on this machine and in buckets, plain and compressed, whole or not at all."""

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.storage_faults import Fault
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google
from storage_places import KINDS, Emulator, Place, open_place

from lading.batch import sources
from lading.batch.files import InputFile, find_inputs, open_source
from lading.errors import InvalidData, NotFound, StorageError

TEXT = b"".join(b"%d\n" % number for number in range(40_000))
PIECE = 64 << 10


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    small_pieces(monkeypatch)
    with open_place(request.param, tmp_path, monkeypatch, emulator=emulator) as opened:
        yield opened


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    small_pieces(monkeypatch)
    with open_place("bucket", tmp_path, monkeypatch) as opened:
        yield opened


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LOCAL_PIECE", PIECE)
    monkeypatch.setattr(sources, "BUCKET_PIECE", PIECE)


def made(place: Place, name: str, content: bytes) -> InputFile:
    place.outputs().write(name, content)
    return find_inputs([f"{place.uri}/{name}"])[0]


@pytest.mark.parametrize("start", [0, 1, PIECE - 1, PIECE, 150_000, len(TEXT)])
@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_a_stream_begins_at_any_offset_of_the_content(place: Place, name: str, start: int) -> None:
    file = made(place, name, gzip.compress(TEXT) if name.endswith(".gz") else TEXT)
    source = open_source(file)
    assert b"".join(source.stream(start)) == TEXT[start:]
    assert source.size == file.size
    assert source.consumed == (0 if start == file.size and name.endswith("l") else file.size)


def test_an_empty_file_has_nothing(place: Place) -> None:
    for name in ("empty", "empty.gz"):
        assert list(open_source(made(place, name, b"")).stream()) == []


def test_any_bytes_of_the_file_as_it_lies_there(place: Place) -> None:
    content = gzip.compress(TEXT, mtime=0)
    source = open_source(made(place, "data.gz", content))
    assert source.read_at(5, 10) == content[5:15]
    assert source.read_at(len(content) - 3, 100) == content[-3:]
    assert source.read_at(len(content), 1) == b""


def test_progress_is_told_while_it_is_read(place: Place) -> None:
    source = open_source(made(place, "data", TEXT))
    seen = [source.consumed for _ in source.stream()]
    assert seen == sorted(set(seen))
    assert seen[-1] == len(TEXT)


def test_members_of_gzip_follow_each_other_with_padding_behind(place: Place) -> None:
    members = [gzip.compress(b"%d\n" % number) for number in range(3000)]
    content = b"".join(members[:1500]) + b"\0" * 7 + b"".join(members[1500:]) + gzip.compress(b"") + b"\0" * 100_000
    source = open_source(made(place, "data.gz", content))
    assert b"".join(source.stream()) == b"".join(b"%d\n" % number for number in range(3000))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "is cut off"),
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lambda data: data[:3], "is cut off"),
        (lambda data: data[:-8] + b"12345678", "is damaged: expected gzip data at byte"),
        (lambda data: data + b"no gzip", "is damaged: expected gzip data at byte"),
        (lambda data: b"no gzip", "is damaged: expected gzip data at byte 0"),
    ],
)
def test_damaged_gzip_is_told_after_what_is_good(tmp_path: Path, damage: object, message: str) -> None:
    assert callable(damage)
    got = []
    with pytest.raises(InvalidData, match=message):
        got += open_source(made(Place(str(tmp_path)), "data.gz", damage(gzip.compress(TEXT)))).stream()
    assert TEXT.startswith(b"".join(got))


def test_little_gzip_that_is_much_data_comes_in_pieces(tmp_path: Path) -> None:
    source = open_source(made(Place(str(tmp_path)), "zeros.gz", gzip.compress(bytes(50 << 20), 1)))
    sizes = [len(piece) for piece in source.stream()]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 20


def test_an_object_that_was_uploaded_compressed_is_read_decompressed(bucket: Place) -> None:
    assert bucket.server is not None
    options = {"api_endpoint": bucket.server.url}
    client = google.Client(project="p", credentials=AnonymousCredentials(), client_options=options)
    blob = client.bucket("b").blob("out/data.jsonl")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(TEXT))
    client.close()
    source = open_source(find_inputs(["gs://b/out/data.jsonl"])[0])
    assert b"".join(source.stream(7)) == TEXT[7:]


def change(place: Place, name: str, content: bytes) -> None:
    time.sleep(0.02)  # coarser than the clock of the file system
    place.outputs().write(name, content)


@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_a_file_that_changes_is_not_read_on(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    with open_place(kind, tmp_path, monkeypatch) as place:
        source = open_source(made(place, "data", TEXT))
        change(place, "data", TEXT[::-1])
        for read in (lambda: next(source.stream()), lambda: source.read_at(0, 1)):
            with pytest.raises(StorageError, match="data was changed since the run was planned"):
                read()
        place.outputs().remove(["data"])
        for read in (lambda: next(source.stream()), lambda: source.read_at(0, 1)):
            with pytest.raises(NotFound, match="data is gone since the run was planned"):
                read()


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    stream = open_source(made(Place(str(tmp_path)), "data", TEXT)).stream()
    assert next(stream) == TEXT[:PIECE]
    time.sleep(0.02)
    with (tmp_path / "data").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(StorageError, match="was changed"):
        next(stream)
    os.truncate(tmp_path / "data", 10)
    with pytest.raises(StorageError, match="was changed"):
        open_source(
            InputFile(str(tmp_path / "data"), "data", 11, f"mtime:{(tmp_path / 'data').stat().st_mtime_ns}")
        ).read_at(0, 11)


def test_an_object_that_changes_while_it_is_read_is_told(bucket: Place) -> None:
    assert bucket.server is not None
    stream = open_source(made(bucket, "data", TEXT)).stream()
    first = next(stream)
    bucket.server.put("b", "out/data", TEXT[::-1])
    with pytest.raises(StorageError, match="gs://b/out/data was changed"):
        first += b"".join(stream)
    assert TEXT.startswith(first)


def test_a_connection_that_ends_in_the_middle_is_gone_on_with(bucket: Place) -> None:
    assert bucket.server is not None
    file = made(bucket, "data", TEXT)
    media = "alt=media"
    bucket.server.faults += [
        Fault("GET", media, cut=1000),
        Fault("GET", media, status=503),
        Fault("GET", media, status=429),
        Fault("GET", media, lost=True),
        Fault("GET", media, cut=0),
    ]
    assert b"".join(open_source(file).stream()) == TEXT
    assert not any(fault.times for fault in bucket.server.faults)


def test_a_storage_that_stays_away_is_told_within_the_patience(bucket: Place) -> None:
    assert bucket.server is not None
    file = made(bucket, "data", TEXT)
    bucket.server.faults.append(Fault("GET", "alt=media", status=503, times=1000))
    source = sources.BucketSource(file, patience_seconds=1.0)
    with pytest.raises(StorageError, match="gs://b/out/data: Cloud Storage kept answering 503"):
        list(source.stream())


def test_only_a_few_pieces_are_fetched_ahead(bucket: Place) -> None:
    assert bucket.server is not None
    content = TEXT * 3
    stream = open_source(made(bucket, "data", content)).stream()
    for used in range(2):
        next(stream)
        time.sleep(0.2)
        fetched = sum("alt=media" in path for path in bucket.server.requests)
        assert fetched <= used + 1 + sources.AHEAD
    stream.close()  # type: ignore[attr-defined]
    assert sum("alt=media" in path for path in bucket.server.requests) < len(content) // PIECE
