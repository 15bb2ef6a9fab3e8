"""The local server of Cloud Storage keeps what the real one promises, as its real client sees it."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.storage_faults import Fault
from fakes.storage_server import Storage
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google
from google.cloud.storage.retry import DEFAULT_RETRY


@pytest.fixture
def server() -> Iterator[Storage]:
    made = Storage()
    yield made
    made.close()


@pytest.fixture
def client(server: Storage) -> Iterator[Any]:
    made = google.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url})
    yield made
    made.close()


@pytest.fixture
def bucket(client: Any) -> Any:
    return client.create_bucket("bucket")


def test_of_two_writers_who_saw_the_same_one_wins(bucket: Any) -> None:
    blob = bucket.blob("lease")
    blob.upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("lease").upload_from_string(b"second", if_generation_match=0)
    seen = bucket.get_blob("lease").generation
    bucket.blob("lease").upload_from_string(b"third", if_generation_match=seen)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("lease").delete(if_generation_match=seen)
    assert bucket.blob("lease").download_as_bytes() == b"third"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("lease", generation=seen).download_as_bytes()


def test_a_precondition_that_it_does_not_know_is_refused_and_not_ignored(bucket: Any) -> None:
    bucket.blob("a").upload_from_string(b"1")
    with pytest.raises(exceptions.MethodNotImplemented):
        bucket.blob("a").reload(if_metageneration_match=7, retry=None)


def test_listings_have_folders_and_pages(client: Any, bucket: Any) -> None:
    for name in ("a", "b/1", "b/2", "c/1", "d"):
        bucket.blob(name).upload_from_string(name)
    listing = client.list_blobs("bucket", delimiter="/", page_size=2)
    pages = [[blob.name for blob in page] for page in listing.pages]
    assert pages == [["a"], ["d"]]
    assert listing.prefixes == {"b/", "c/"}
    assert [blob.name for blob in client.list_blobs("bucket", prefix="b/", page_size=1)] == ["b/1", "b/2"]


def test_a_resumable_upload_arrives_whole_through_a_stumble(server: Storage, bucket: Any) -> None:
    content = bytes(range(256)) * 4096
    blob = bucket.blob("large", chunk_size=256 * 1024)
    with blob.open("wb", ignore_flush=True, retry=DEFAULT_RETRY) as file:
        file.write(content[:600_000])
        server.failures += [503]
        file.write(content[600_000:])
    assert bucket.blob("large").download_as_bytes(start=599_990, end=600_009) == content[599_990:600_010]
    assert server.buckets["bucket"]["large"].content == content


def test_objects_are_copied_with_what_is_known_of_them(client: Any, bucket: Any) -> None:
    blob = bucket.blob("a b/ü")
    blob.metadata = {"digest": "1"}
    blob.upload_from_string(b"text", "text/plain")
    other = client.create_bucket("other")
    token, _, total = other.blob("copy").rewrite(blob)
    copy = other.get_blob("copy")
    assert (token, total, copy.content_type, copy.metadata) == (None, 4, "text/plain", {"digest": "1"})
    copy.metadata = {"more": "2"}
    copy.patch()
    assert other.get_blob("copy").metadata == {"digest": "1", "more": "2"}
    with pytest.raises(exceptions.NotFound):
        client.bucket("nowhere").blob("copy").rewrite(blob)


def test_a_bucket_is_made_once(server: Storage, client: Any, bucket: Any) -> None:
    with pytest.raises(exceptions.Conflict):
        client.create_bucket("bucket")
    assert client.bucket("bucket").exists()
    assert not client.bucket("nowhere").exists()
    server.denied.add("bucket")
    with pytest.raises(exceptions.Forbidden):
        bucket.blob("a").upload_from_string(b"")


def test_objects_are_composed_under_preconditions(bucket: Any) -> None:
    for name in ("1", "2"):
        bucket.blob(name).upload_from_string(name)
    whole = bucket.blob("whole")
    whole.metadata = {"by": "me"}
    whole.compose([bucket.blob("1"), bucket.blob("2")], if_generation_match=0)
    assert (whole.download_as_bytes(), bucket.get_blob("whole").metadata) == (b"12", {"by": "me"})
    whole.compose([whole, bucket.blob("1")], if_generation_match=whole.generation)
    assert whole.download_as_bytes() == b"121"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("whole").compose([bucket.blob("1")], if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("new").compose([bucket.blob("1")], if_source_generation_match=[7])
    with pytest.raises(exceptions.NotFound):
        bucket.blob("new").compose([bucket.blob("1"), bucket.blob("nope")])
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("new").compose([bucket.blob("1")] * 33)
    assert bucket.get_blob("new") is None


def test_a_range_is_read_under_preconditions(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"0123456789")
    right, wrong = {"if_generation_match": blob.generation}, {"if_generation_match": blob.generation + 1}
    assert bucket.blob("a").download_as_bytes(start=2, end=4, raw_download=True, **right) == b"234"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").download_as_bytes(start=2, end=4, raw_download=True, **wrong)


@pytest.mark.parametrize("fault", [Fault("PUT", lost=True), Fault("PUT", status=503), Fault(seconds=0.1)])
def test_the_end_of_a_resumable_upload_may_be_sent_twice(server: Storage, bucket: Any, fault: Fault) -> None:
    server.faults.append(fault)
    blob = bucket.blob("a", chunk_size=256 * 1024)
    blob.upload_from_file(io.BytesIO(b"1" * 1000), if_generation_match=0, retry=DEFAULT_RETRY)
    assert server.buckets["bucket"]["a"].generation == blob.generation
    assert fault.hit.is_set()
