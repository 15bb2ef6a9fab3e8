"""Tags to digests, against a registry on loopback; credentials as docker keeps them."""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.registry import FakeRegistry
from soon import soon

from lading.errors import AccessDenied, InvalidInput, InvalidReference, NotFound, RemoteError, ServiceUnreachable
from lading.oci.credentials import credentials
from lading.oci.reference import Reference
from lading.oci.registry import Registry, resolve_image
from lading.wait import Deadline


def resolve(image: str, home: Path, seconds: float = 5, **environ: str) -> str:
    return resolve_image(image, environ={"HOME": str(home), **environ}, deadline=Deadline.after(seconds))


@contextlib.contextmanager
def serve_json(body: object) -> Iterator[str]:
    """A server that answers every POST with the same JSON; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


def repository(registry: FakeRegistry, home: Path) -> Registry:
    return Registry(registry.host, "team/steps", environ={"HOME": str(home)})


def logged_in(home: Path, host: str, login: str = "user:secret") -> None:
    (home / ".docker").mkdir()
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()}}
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))


@pytest.mark.parametrize("says_digest", [True, False])
def test_a_tag_becomes_the_digest_of_its_manifest(registry: FakeRegistry, tmp_path: Path, says_digest: bool) -> None:
    registry.says_digest = says_digest
    digest = registry.put("team/steps", "1.0")
    image = f"{registry.host}/team/steps"
    assert resolve(f"{image}:1.0", tmp_path) == f"{image}@{digest}"
    assert resolve(f"{image}:1.0@{digest}", tmp_path) == f"{image}@{digest}"
    with pytest.raises(NotFound, match=f"no image {image}:2.0"):
        resolve(f"{image}:2.0", tmp_path)
    with pytest.raises(NotFound):
        resolve(f"{image}@sha256:{'0' * 64}", tmp_path)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_of_docker_is_used(registry: FakeRegistry, tmp_path: Path, auth: str) -> None:
    registry.auth = auth
    digest = registry.put("team/steps", "1.0")
    with pytest.raises(AccessDenied):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)
    logged_in(tmp_path, registry.host)
    assert resolve(f"{registry.host}/team/steps:1.0", tmp_path).endswith(digest)


def test_a_wrong_password_is_denied_and_stays_secret(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "bearer"
    logged_in(tmp_path, registry.host, "user:hunter2")
    with pytest.raises(AccessDenied, match="docker login") as caught:
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_credential_helper_is_asked(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "basic"
    digest = registry.put("team/steps", "1.0")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "vault"}}))
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    with pytest.raises(InvalidInput, match="docker-credential-vault is not on the PATH"):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path, **environ)
    helper = tmp_path / "docker-credential-vault"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"user\\", \\"Secret\\": \\"secret\\"}"\n')
    helper.chmod(0o755)
    assert resolve(f"{registry.host}/team/steps:1.0", tmp_path, **environ).endswith(digest)


def test_a_registry_that_stumbles_is_asked_again(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = registry.put("team/steps", "1.0")
    registry.failing = 2
    assert resolve(f"{registry.host}/team/steps:1.0", tmp_path).endswith(digest)


def test_no_registry_and_no_permission_are_told_apart(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.denied.add("team/steps")
    with pytest.raises(AccessDenied, match="403"):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)
    registry.close()
    with pytest.raises(ServiceUnreachable):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path, seconds=1)


def test_a_refresh_token_of_docker_login_is_exchanged(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "bearer"
    digest = registry.put("team/steps", "1.0")
    config = tmp_path / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "refresh"}}}))
    assert resolve(f"{registry.host}/team/steps:1.0", tmp_path).endswith(digest)
    config.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "expired"}}}))
    with pytest.raises(AccessDenied, match="docker login") as caught:
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)
    assert "expired" not in str(caught.value)


def test_a_login_is_not_sent_where_anyone_can_read_it(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth, registry.realm = "bearer", "http://tokens.example.org/token"
    logged_in(tmp_path, registry.host)
    with pytest.raises(AccessDenied, match="not encrypted"):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)


def test_a_token_service_that_is_not_there_is_not_an_image_that_is_not_there(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.auth, registry.realm = "bearer", f"http://{registry.host}/nothing/v2/x/manifests/x"
    registry.put("team/steps", "1.0")
    logged_in(tmp_path, registry.host)
    with pytest.raises((RemoteError, AccessDenied), match="token"):
        resolve(f"{registry.host}/team/steps:1.0", tmp_path)


@pytest.mark.parametrize("text", ["{", '{"auths": {"example.org": {"auth": "not base64!"}}}'])
def test_a_configuration_of_docker_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        credentials("example.org", {"DOCKER_CONFIG": str(tmp_path)})


def test_a_helper_that_says_something_else_does_not_have_it_repeated(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "odd"}))
    helper = tmp_path / "docker-credential-odd"
    helper.write_text("#!/bin/sh\necho hunter2\n")
    helper.chmod(0o755)
    with pytest.raises(InvalidInput, match="docker-credential-odd did not answer") as caught:
        credentials("example.org", {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert "hunter2" not in str(caught.value)


def test_credentials_of_google_are_for_registries_of_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with serve_json({"access_token": "of-google", "expires_in": 3600}) as tokens:
        account = {"type": "service_account", "client_email": "a@b", "private_key": key.decode(), "token_uri": tokens}
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        environ = {"HOME": str(tmp_path)}
        for host in ("europe-docker.pkg.dev", "gcr.io", "eu.gcr.io"):
            assert credentials(host, environ) == ("oauth2accesstoken", "of-google")
        for host in ("notgcr.io", "pkg.dev.example.org", "docker.io", "127.0.0.1:5000"):
            assert credentials(host, environ) is None


def test_a_manifest_comes_with_its_type_and_digest(registry: FakeRegistry, tmp_path: Path) -> None:
    digest = registry.put("team/steps", "1.0")
    found = repository(registry, tmp_path).manifest("1.0", deadline=soon())
    assert (found.digest, found.media_type) == (digest, "application/vnd.oci.image.manifest.v1+json")
    assert found.content == registry.manifests["team/steps", "1.0"]
    registry.manifests["team/steps", digest] = b"{}"
    with pytest.raises(RemoteError, match="other bytes"):
        repository(registry, tmp_path).manifest(digest, deadline=soon())


def test_a_blob_is_read_in_pieces_and_checked(registry: FakeRegistry, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    digest = registry.put_blob(content)
    there = repository(registry, tmp_path)
    assert there.has_blob(digest, deadline=soon())
    assert not there.has_blob(f"sha256:{'0' * 64}", deadline=soon())
    pieces = list(there.blob(digest, deadline=soon()))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 20
    with pytest.raises(NotFound):
        next(there.blob(f"sha256:{'0' * 64}", deadline=soon()))
    registry.blobs[digest] = content[:-1]
    with pytest.raises(RemoteError, match="other bytes"):
        list(there.blob(digest, deadline=soon()))
    registry.cut_after = 1000
    with pytest.raises(ServiceUnreachable, match="the connection was lost"):
        list(there.blob(digest, deadline=soon()))


def test_the_storage_behind_a_registry_does_not_get_our_login(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "bearer"
    logged_in(tmp_path, registry.host)
    storage = FakeRegistry()
    registry.storage = f"http://{storage.host}"
    digest = storage.put_blob(b"a layer")
    there = repository(registry, tmp_path)
    try:
        assert there.has_blob(digest, deadline=soon())
        assert b"".join(there.blob(digest, deadline=soon())) == b"a layer"
        assert storage.requests == [f"GET /storage/{digest}"]
        storage.blobs.clear()
        with pytest.raises(NotFound, match="does not have it") as caught:
            next(there.blob(digest, deadline=soon()))
        assert "hush" not in str(caught.value)
        assert set(storage.authorizations) == {""}
    finally:
        storage.close()
    with pytest.raises(ServiceUnreachable, match="does not answer") as unreachable:
        next(there.blob(digest, deadline=Deadline.after(1)))
    assert "hush" not in str(unreachable.value)
    registry.storage = "http://storage.example.org"
    with pytest.raises(RemoteError, match="unencrypted"):
        next(there.blob(digest, deadline=soon()))


@pytest.mark.parametrize(
    ("text", "host", "name", "tag"),
    [
        ("python:3.12", "registry-1.docker.io", "library/python", "3.12"),
        ("team/app", "registry-1.docker.io", "team/app", ""),
        ("localhost/app:1", "localhost", "app", "1"),
        ("example.org:5000/a/b_c", "example.org:5000", "a/b_c", ""),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, host: str, name: str, tag: str) -> None:
    found = Reference.parse(text)
    assert (found.host, found.name, found.tag) == (host, name, tag)


@pytest.mark.parametrize("text", ["", "UPPER/case", "a b", "example.org/", "example.org/a@sha256:12", "https://x.y/z"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)
