"""Files by URI; gs:// through the real client, against a small server of the download API."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lading.errors import InvalidReference, NotFound
from lading.storage import copy_file, join, read_bytes

OBJECTS = {"/download/storage/v1/b/bucket/o/data/train.gz": b"content" * 1000}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``gs://bucket``; the client's own variable tells it where to go."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = OBJECTS.get(unquote(urlsplit(self.path).path))
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    yield "gs://bucket"
    server.shutdown()
    server.server_close()


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
