"""Tags to digests, against a registry on loopback; credentials as docker keeps them."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from fakes.registry import FakeRegistry

from lading.errors import AccessDenied, InvalidInput, InvalidReference, NotFound, ServiceUnreachable
from lading.oci.registry import Reference, resolve_image
from lading.wait import Deadline, poll


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    made = FakeRegistry()
    yield made
    made.close()


def resolve(image: str, home: Path, seconds: float = 5, **environ: str) -> str:
    return resolve_image(image, environ={"HOME": str(home), **environ}, deadline=Deadline.after(seconds))


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


@pytest.mark.skipif(not shutil.which("docker-registry"), reason="Debian's docker-registry is not installed")
def test_the_registry_of_the_distribution_project_agrees(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/data\nhttp:\n  addr: 127.0.0.1:5017\n"
    )
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        address = "http://127.0.0.1:5017/v2"

        def answers() -> bool | None:
            try:
                return requests.get(f"{address}/", timeout=1).ok
            except requests.ConnectionError:
                return None

        poll(answers, deadline=Deadline.after(10), what="docker-registry to answer")
        body = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
        put = requests.put(
            f"{address}/team/steps/manifests/1.0",
            data=body,
            headers={"Content-Type": "application/vnd.oci.image.index.v1+json"},
            timeout=5,
        )
        assert put.status_code == 201, put.text
        found = resolve("127.0.0.1:5017/team/steps:1.0", tmp_path)
        assert found == f"127.0.0.1:5017/team/steps@{put.headers['Docker-Content-Digest']}"
        with pytest.raises(NotFound):
            resolve("127.0.0.1:5017/team/steps:2.0", tmp_path)
    finally:
        server.terminate()
        server.wait(10)
        log.close()
