"""Docker and Debian's registry for tests: started when they do not run, and ended when they were started here."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from lading.wait import Deadline, poll


def need(*programs: str) -> None:
    """Fail where a program is missing, which Debian has under the same name."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.fail(f"missing: apt-get install {' '.join(missing)}")


def run(*words: object, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run a program and keep what it says."""
    usual = {"capture_output": True, "text": True, "check": False, "timeout": 300}
    return subprocess.run(list(map(str, words)), **{**usual, **options})  # type: ignore[call-overload]


def docker(*words: object, **options: object) -> "subprocess.CompletedProcess[str]":
    return run("docker", *words, **options)


def ran(done: "subprocess.CompletedProcess[str]") -> str:
    """What a program said that has to succeed."""
    assert not done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


@contextmanager
def docker_engine(folder: Path) -> Iterator[None]:
    """Docker's daemon: the one that answers, or one that is started without a network of its own."""
    need("docker")
    if not docker("info").returncode:
        yield
        return
    need("dockerd")
    with (folder / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(["dockerd", "--iptables=false", "--bridge=none"], stdout=log, stderr=log)
    try:
        poll(lambda: docker("info").returncode == 0 or None, deadline=Deadline.after(40), what="dockerd")
        yield
    finally:
        daemon.terminate()
        daemon.wait(60)


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Debian's registry on a free port of loopback: its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\nhttp:\n  addr: {host}\n"
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        poll(lambda: _answers(f"http://{host}/v2/"), deadline=Deadline.after(20), what="the registry")
        yield host
    finally:
        server.terminate()
        server.wait(10)


def _answers(url: str) -> bool | None:
    try:
        return requests.get(url, timeout=5).ok or None
    except requests.ConnectionError:
        return None


def until_ready(url: str, seconds: float = 30.0) -> None:
    """Wait for a server."""
    poll(lambda: _answers(f"{url}/v2/health/ready"), deadline=Deadline.after(seconds), what=url)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def build_context(root: Path, folder: Path) -> Path:
    """What Docker needs of a checkout, with the certificate authority that this machine's pip trusts."""
    context = folder / "context"
    for name in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore"):
        context.mkdir(exist_ok=True)
        shutil.copy(root / name, context)
    for name in ("containers", "lading", "components/compiled", "pipelines/compiled"):
        shutil.copytree(root / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    authority = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if authority:
        shutil.copy(authority, context / "containers" / "ca.crt")
    return context
