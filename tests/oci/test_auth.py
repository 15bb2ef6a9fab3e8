"""Logins as docker keeps them, and the credential helper of Google's own command."""

import base64
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry
from sample_images import blob_of

from lading.errors import AccessDenied, InvalidInput, NotFound, QuotaExceeded
from lading.oci.credentials import credentials, look_up
from lading.oci.refusals import Asked
from lading.oci.registry import Registry
from lading.wait import Deadline

AUTH = base64.b64encode(b"user:secret").decode()
ARTIFACTS = "europe-docker.pkg.dev"


def environ_with(folder: Path, config: object, **more: str) -> dict[str, str]:
    """The environment of a user whose docker has this configuration."""
    (folder / "config.json").write_text(json.dumps(config))
    return {"DOCKER_CONFIG": str(folder), "HOME": str(folder), "PATH": f"{folder}:{os.environ['PATH']}", **more}


@pytest.mark.parametrize(
    "name", ["example.org", "https://example.org", "https://example.org/v2/", "https://example.org/v1/"]
)
def test_a_login_is_found_under_every_name_that_docker_writes(tmp_path: Path, name: str) -> None:
    environ = environ_with(tmp_path, {"auths": {name: {"auth": AUTH}}})
    assert credentials("example.org", environ) == ("user", "secret")
    assert credentials("example.com", environ) is None


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    environ = environ_with(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}})
    assert credentials("registry-1.docker.io", environ) == ("user", "secret")


@pytest.mark.parametrize(
    "config", [{}, {"auths": None, "credHelpers": None, "credsStore": ""}, {"auths": {"example.org": {}}}]
)
def test_without_a_login_we_are_nobody(tmp_path: Path, config: object) -> None:
    assert look_up("example.org", environ_with(tmp_path, config)) == (None, "")
    assert look_up("example.org", {"HOME": str(tmp_path / "nowhere")}) == (None, "")


def test_what_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"config\.json: expected a JSON object"):
        credentials("example.org", environ_with(tmp_path, ["auths"]))


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\nread host\n{script}\n")
    path.chmod(0o755)


def test_a_helper_that_knows_nothing_leaves_the_logins_of_the_file(tmp_path: Path) -> None:
    config = {"credsStore": "store", "auths": {"example.org": {"auth": AUTH}}}
    helper(tmp_path, "store", "echo credentials not found in native keychain; exit 1")
    assert credentials("example.org", environ_with(tmp_path, config)) == ("user", "secret")


def test_a_helper_for_one_host_wins_over_the_store(tmp_path: Path) -> None:
    config = {"credsStore": "store", "credHelpers": {"example.org": "own"}}
    helper(tmp_path, "store", 'echo "{\\"Username\\": \\"store\\", \\"Secret\\": \\"s\\"}"')
    helper(tmp_path, "own", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"refresh\\"}"')
    environ = environ_with(tmp_path, config)
    assert credentials("example.org", environ) == ("<token>", "refresh")
    assert credentials("example.com", environ) == ("store", "s")


def test_a_helper_that_fails_is_quoted_when_the_registry_refuses(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "basic"
    helper(tmp_path, "own", "echo You are not logged in; exit 1")
    environ = environ_with(tmp_path, {"credHelpers": {registry.host: "own"}})
    there = Registry(registry.host, "team/taxi", environ=environ, writable=True)
    says = r"an anonymous user \(docker-credential-own: You are not logged in\) may not push"
    with pytest.raises(AccessDenied, match=says):
        there.write_blob(blob_of(b"weights"), deadline=Deadline.after(5))


@pytest.mark.skipif(not shutil.which("docker-credential-gcloud"), reason="Google's gcloud is not installed")
def test_the_helper_of_gcloud_gives_its_token(tmp_path: Path) -> None:
    config = {"credHelpers": {ARTIFACTS: "gcloud"}}  # as `gcloud auth configure-docker` writes it
    (tmp_path / "token").write_text("of-gcloud")
    environ = environ_with(tmp_path, config, CLOUDSDK_CONFIG=str(tmp_path / "gcloud"))
    login = credentials(ARTIFACTS, {**environ, "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token")})
    assert login is not None
    assert login[1] == "of-gcloud"
    assert login[0].startswith("_dcgcloud_token") or login[0] == "oauth2accesstoken"


@pytest.mark.skipif(not shutil.which("docker-credential-gcloud"), reason="Google's gcloud is not installed")
def test_the_helper_of_gcloud_says_why_it_has_none(tmp_path: Path) -> None:
    config = {"credHelpers": {"example.org": "gcloud"}}
    environ = environ_with(tmp_path, config, CLOUDSDK_CONFIG=str(tmp_path / "gcloud"))
    login, problem = look_up("example.org", environ)
    assert login is None
    assert problem.startswith("docker-credential-gcloud: ")


def test_artifact_registry_is_told_apart() -> None:
    asked = Asked(ARTIFACTS, "proj/models/taxi", "user ci", writing=True)
    denied = str(asked.explain(AccessDenied("PUT …: 403 denied", status=403)))
    assert f"`gcloud auth configure-docker {ARTIFACTS}`" in denied
    assert "roles/artifactregistry.writer" in denied
    missing = str(asked.explain(NotFound("POST …: 404 name unknown")))
    command = "gcloud artifacts repositories create models --repository-format=docker --location=europe --project=proj"
    assert f"`{command}`" in missing
    assert "user ci is the one that counts" in str(asked.explain(QuotaExceeded("429", status=429)))
    reading = Asked(ARTIFACTS, "proj/models/taxi", "user ci", writing=False)
    assert "roles/artifactregistry.reader" in str(reading.explain(AccessDenied("403", status=403)))
    absent = NotFound("GET …: 404")
    assert reading.explain(absent) is absent


def test_a_token_is_renewed_before_it_is_old(registry: FakeRegistry, tmp_path: Path) -> None:
    asked: list[str] = []

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            registry.tokens["short"] = {"repository:team/taxi:pull,push"}
            raw = json.dumps({"access_token": "short", "expires_in": 0.2}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        registry.auth, registry.realm = "bearer", f"http://127.0.0.1:{server.server_port}/token"
        there = Registry(registry.host, "team/taxi", environ={"HOME": str(tmp_path)}, writable=True)
        deadline = Deadline.after(10)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: there.write_blob(blob_of(b"%d" % n), deadline=deadline), range(4)))
        first = len(asked)
        deadline.sleep(0.3)
        there.write_blob(blob_of(b"later"), deadline=deadline)
        assert len(asked) == first + 1
        assert registry.authorizations[-1] == "Bearer short"
        assert registry.authorizations[-4] == ""  # the old one was not sent any more
    finally:
        server.shutdown()
        server.server_close()
