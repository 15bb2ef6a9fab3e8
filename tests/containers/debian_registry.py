"""Debian's docker-registry as a process, and what it logged."""

import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lading.wait import Deadline, poll

# bcrypt of "secret", as `htpasswd -B` writes it.
HTPASSWD = "user:$2b$04$cdIrQq6QN8WiZqpV7pX9N.63LO20DjJCTVDlbf.B1T4N.o3RIYrmm\n"


def need(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.fail(f"missing: apt-get install {' '.join(missing)}")


class Running:
    """A registry that answers."""

    def __init__(self, host: str, log: Path) -> None:
        self.host, self._log = host, log

    def requests(self, method: str) -> list[tuple[str, int]]:
        """Path and status of each request with this method, from the registry's own access log."""
        return [
            (path, int(code)) for path, code in re.findall(rf'"{method} (\S+) HTTP[^"]*" (\d+)', self._log.read_text())
        ]


@contextlib.contextmanager
def running(folder: Path, auth: str = "") -> Iterator[Running]:
    need("docker-registry")
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "config.yml"
    data = f"storage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
    config.write_text(f"version: 0.1\n{data}http:\n  addr: {host}\n{auth}")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:

        def answers() -> bool | None:
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"http://{host}/v2/", timeout=5).status_code in (200, 401) or None
            return None

        poll(answers, deadline=Deadline.after(20), what="docker-registry to answer")
        yield Running(host, folder / "log")
    finally:
        server.terminate()
        server.wait(20)


def home_with(folder: Path, host: str, login: str) -> dict[str, str]:
    (folder / ".docker").mkdir(exist_ok=True, parents=True)
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()}}
    (folder / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))
    return {"HOME": str(folder)}
