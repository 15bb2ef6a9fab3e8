"""The client of Cloud Storage: kept for as long as someone uses it, its errors in lading's words."""

import threading
from collections.abc import Iterator

import pytest
from fakes.storage_faults import Fault
from fakes.storage_server import Storage

from lading import buckets
from lading.errors import Conflict, InvalidReference, NotFound, StorageError
from lading.storage import read_bytes


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage()
    server.put("b", "a", b"content")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.close()


def read() -> None:
    assert read_bytes("gs://b/a") == b"content"


def test_within_a_block_connections_are_kept_and_afterwards_not(storage: Storage) -> None:
    for _ in range(3):
        read()
    assert len(storage.connections) == 3
    storage.connections.clear()
    with buckets.kept():
        for _ in range(3):
            read()
    assert len(storage.connections) == 1
    read()
    assert len(storage.connections) == 2


def test_blocks_that_overlap_share_the_client_also_in_threads(storage: Storage) -> None:
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        with buckets.kept():
            begun.set()
            end.wait()

    with buckets.kept():
        read()
        thread = threading.Thread(target=other)
        thread.start()
        begun.wait()
    read()
    end.set()
    thread.join()
    assert len(storage.connections) == 1
    read()
    assert len(storage.connections) == 2


def test_a_block_without_buckets_needs_no_library_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    with buckets.kept():
        pass


def test_a_precondition_that_does_not_hold_is_a_conflict(storage: Storage) -> None:
    with pytest.raises(Conflict, match="gs://b/a was changed by someone else"), buckets.blob("gs://b/a") as blob:
        blob.upload_from_string(b"", if_generation_match=0, retry=buckets.retry())
    read()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_and_then_told(storage: Storage, status: int) -> None:
    storage.faults.append(Fault(status=status))
    read()
    storage.faults.append(Fault(status=status, times=1000))
    told = pytest.raises(StorageError, match=f"gs://b/a: Cloud Storage kept answering {status}")
    with told, buckets.blob("gs://b/a") as blob:
        blob.download_as_bytes(retry=buckets.retry(0.1))


@pytest.mark.parametrize("fault", [Fault(cut=3), Fault(lost=True)])
def test_a_connection_that_is_reset_is_tried_again(storage: Storage, fault: Fault) -> None:
    storage.faults.append(fault)
    read()
    assert len(storage.requests) == 2


def test_what_will_not_pass_is_told_at_once(storage: Storage) -> None:
    storage.faults.append(Fault(status=400, times=1000))
    with pytest.raises(StorageError, match="gs://b/a: 400"):
        read_bytes("gs://b/a")
    assert len(storage.requests) == 1


@pytest.mark.parametrize("uri", ["gs://", "gs:///a", "b/a"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(InvalidReference, match="expected gs://BUCKET/NAME"):
        buckets.split(uri)


def test_what_can_be_no_bucket_is_refused(storage: Storage) -> None:
    with pytest.raises(InvalidReference, match="gs://b-/a: 'b-' is no name of a bucket"):
        read_bytes("gs://b-/a")


def test_an_error_of_the_caller_stays_what_it_is(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError), buckets.opened("b", "gs://b"):
        _ = 1 / 0
    with pytest.raises(NotFound, match="mine"), buckets.opened("b", "gs://b"):
        raise NotFound("mine")
