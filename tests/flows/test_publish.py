"""Publishing images: what a user is told when Docker or the registry will not.

Docker is a script here, which says what the real one and registries say; tests/containers asks the real one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry

from lading.flows.publish import project_images, step_images

SCRIPT = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
case "$*" in
  *{when}*) echo '{says}' >&2; exit 1;;
esac
echo progress
"""
HERE = "/var/run/docker.sock"
CASES = {
    "daemon": (
        "inspect",
        "Cannot connect to the Docker daemon at unix:///none.sock. Is the docker daemon running?",
        "Docker's daemon does not answer: start it, or set DOCKER_HOST (Cannot connect to the Docker daemon at",
    ),
    "socket": (
        "inspect",
        f"permission denied while trying to connect to the Docker daemon socket at unix://{HERE}: connect: …",
        "this user may not use Docker",
    ),
    "one is not built": (
        "inspect --format {{.Id}} lading/steps-train",
        "Error response from daemon: no such image: lading/steps-train: No such image: lading/steps-train",
        f"Docker has no image {step_images()[-1]}: build with `make images`",
    ),
    "login": ("push", "no basic auth credentials", "docker login HOST"),
    "role": (
        "push",
        'denied: Permission "artifactregistry.repositories.uploadArtifacts" denied on resource (or it may not exist)',
        "roles/artifactregistry.writer",
    ),
    "repository": ("push", 'name unknown: Repository "team" not found', "gcloud artifacts repositories create NAME"),
    "nobody there": (
        "push",
        'Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused',
        "does not reach the registry",
    ),
    "host": (
        "push",
        'Get "https://r.invalid/v2/": dial tcp: lookup r.invalid: no such host',
        "Look at the host in --to",
    ),
    "anything else": ("push", "no space left on device", "Docker could not push it (no space left on device)"),
}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry that has the images already: the script does not push."""
    registry = FakeRegistry()
    yield registry
    registry.close()


def push(folder: Path, prefix: str, *, when: str = "nothing", says: str = "") -> "subprocess.CompletedProcess[str]":
    script = folder / "docker"
    script.write_text(SCRIPT.format(when=when.replace(" ", "\\ "), says=says))
    script.chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "lading", "images", "push", "--to", prefix, "--json"]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_a_paragraph_that_says_what_to_do(case: str, tmp_path: Path) -> None:
    when, says, told = CASES[case]
    done = push(tmp_path, "127.0.0.1:9/team", when=when, says=says)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr
    assert told in done.stderr
    if when.startswith("inspect"):
        assert "push" not in (tmp_path / "calls").read_text(), "something was pushed, though not all images are there"


def test_without_docker_the_package_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lading", "images", "list"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "apt-get install docker.io" in done.stderr


def test_a_prefix_with_a_tag_is_refused_before_docker_is_asked(tmp_path: Path) -> None:
    done = push(tmp_path, "registry.example.org/team:1.0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "without tag or digest" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_what_was_pushed_is_told_by_digest(tmp_path: Path, registry: FakeRegistry) -> None:
    digests = []
    for image in project_images():
        name, _, tag = image.removeprefix("lading/").partition(":")
        digests.append(f"{registry.host}/team/{name}@{registry.put(f'team/{name}', tag)}")
    done = push(tmp_path, f"{registry.host}/team")
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout) == digests
    image = step_images()[0]
    there = image.replace("lading/", f"{registry.host}/team/")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls.index(f"tag {image} {there}") < calls.index(f"push --quiet {there}")
