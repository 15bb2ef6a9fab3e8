"""Files by URI; gs:// through the real client, against a local server of its API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.storage_server import Storage

from lading.errors import AccessDenied, InvalidReference, NotFound, StorageError
from lading.storage import copy_file, exists, join, list_files, list_names, read_bytes, upload_file, write_bytes


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """Has ``gs://bucket``; the client's own variable tells it where to go."""
    server = Storage()
    server.put("bucket", "data/train.gz", b"content" * 1000)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    yield server
    server.close()


@pytest.fixture
def bucket(storage: Storage) -> str:
    return "gs://bucket"


@pytest.mark.parametrize("place", ["bucket", "path"])
def test_a_file_is_uploaded(storage: Storage, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"content" * 1000)
    uri = "gs://bucket/new/file" if place == "bucket" else str(tmp_path / "new" / "file")
    upload_file(tmp_path / "file", uri)
    assert read_bytes(uri) == b"content" * 1000
    with pytest.raises(NotFound, match="no bucket"):
        upload_file(tmp_path / "file", "gs://nowhere/file")


def test_a_path_and_a_file_uri_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert read_bytes(str(tmp_path / "a")) == read_bytes(f"file://{tmp_path}/a") == b"1"


def test_an_object_is_read_and_copied(bucket: str, tmp_path: Path) -> None:
    uri = join(f"{bucket}/data/", "train.gz")
    assert read_bytes(uri) == b"content" * 1000
    assert copy_file(uri, tmp_path / "new" / "copy").read_bytes() == b"content" * 1000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]


def test_what_is_not_there_is_named_and_nothing_is_left(bucket: str, tmp_path: Path) -> None:
    for uri in (f"{bucket}/data/nope", str(tmp_path / "nope"), str(tmp_path)):
        with pytest.raises(NotFound, match=uri):
            read_bytes(uri)
        with pytest.raises(NotFound, match=uri):
            copy_file(uri, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["s3://bucket/a", "https://example.org/a", "gs://bucket"])
def test_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(InvalidReference, match="expected"):
        read_bytes(uri)


@pytest.mark.parametrize("place", ["local", "remote"])
def test_what_is_written_is_there_and_listed(bucket: str, tmp_path: Path, place: str) -> None:
    root = bucket if place == "remote" else str(tmp_path)
    for name, content in (("a/2", b"two\r\n\x00"), ("a/1", b"1"), ("a-old/3", b"3"), ("a/deep/4", b"")):
        write_bytes(join(root, name), content)
    assert read_bytes(join(root, "a/2")) == b"two\r\n\x00"
    assert exists(join(root, "a/1"))
    assert not exists(join(root, "a"))
    assert list_files(join(root, "a")) == [join(root, name) for name in ("a/1", "a/2", "a/deep/4")]
    assert list_files(join(root, "a"), limit=1) == [join(root, "a/1")]
    assert list_files(join(root, "a/2")) == [join(root, "a/2")]
    assert list_files(join(root, "none")) == []
    write_bytes(join(root, "a/1"), b"new")
    assert read_bytes(join(root, "a/1")) == b"new"


def test_a_large_object_goes_up_in_parts(bucket: str) -> None:
    content = bytes(range(256)) * 40_000  # above the client's limit for a single request
    write_bytes(f"{bucket}/large", content)
    assert read_bytes(f"{bucket}/large") == content


def test_a_bucket_that_is_missing_or_denied_says_so(storage: Storage) -> None:
    storage.buckets["secret"] = {}
    storage.denied.add("secret")
    for call in (lambda uri: write_bytes(uri, b""), list_files, read_bytes):
        with pytest.raises(NotFound, match="nowhere"):
            call("gs://nowhere/a")
        with pytest.raises(AccessDenied, match=r"roles/storage\.object"):
            call("gs://secret/a")


def test_a_bucket_that_is_missing_comes_with_the_command_that_makes_it(storage: Storage) -> None:
    with pytest.raises(NotFound, match=r"no bucket nowhere: .*gcloud storage buckets create gs://nowhere"):
        write_bytes("gs://nowhere/a", b"")


def test_a_server_that_stumbles_is_asked_again(storage: Storage) -> None:
    storage.failures += [503, 429]
    assert list_files("gs://bucket") == ["gs://bucket/data/train.gz"]
    storage.failures += [503]
    write_bytes("gs://bucket/new", b"1")
    assert storage.buckets["bucket"]["new"].content == b"1"


def test_a_server_that_is_away_is_told_before_long(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Storage()
    server.close()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setattr("lading.storage.RETRY_SECONDS", 1.0)
    for call in (read_bytes, exists, list_files, lambda uri: write_bytes(uri, b"")):
        with pytest.raises(StorageError, match="gs://bucket/a: Cloud Storage does not answer"):
            call("gs://bucket/a")


def test_without_credentials_the_way_to_log_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(StorageError, match="gcloud auth application-default login"):
        read_bytes("gs://bucket/a")


@pytest.mark.parametrize("place", ["local", "remote"])
def test_the_names_in_a_directory_are_files_and_directories(bucket: str, tmp_path: Path, place: str) -> None:
    root = bucket if place == "remote" else str(tmp_path)
    for name in ("base/10/a", "base/10/b", "base/2/deep/c", "base/file", "base-old/1/a"):
        write_bytes(join(root, name), b"1")
    assert list_names(f"{root}/base") == list_names(f"{root}/base/") == ["10", "2", "file"]
    assert "base-old" in list_names(root)
    with pytest.raises(NotFound, match="nope"):
        list_names(f"{root}/nope")
