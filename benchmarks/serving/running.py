"""A server as a process: started, asked until it answers rightly, ended."""

import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.serving import processes
from benchmarks.serving.bodies import Body
from benchmarks.serving.servers import Server

MOST_SECONDS = 120.0
STOP_SECONDS = 15.0
PAUSE_SECONDS = 0.003
"""Between two questions while a server starts."""


class ServerFailedError(Exception):
    """A server did not start, or answered wrongly."""


class Running:
    """A server that was just started; use it as a context manager, which ends it.

    Args:
        server: Which.
        model: What it serves: a SavedModel.
        body: What it is asked.
        folder: Of the virtual environments.

    Attributes:
        content: The request in the form that the server takes.
        headers: Of the request.
    """

    def __init__(self, server: Server, model: Path, body: Body, folder: Path) -> None:
        self.server, self._body = server, body
        self.content, self.headers = body.request(server.form)
        self._scratch = tempfile.TemporaryDirectory(prefix="lading-bench-", ignore_cleanup_errors=True)
        scratch = Path(self._scratch.name)
        (scratch / "answer.json").write_text('{"predictions":' + repr([list(row) for row in body.answer]) + "}")
        ports = _free_ports(3)
        values = {
            "model": str(model),
            "bin": str(folder / server.environment / "bin"),
            "answer": str(scratch / "answer.json"),
            "scratch": str(scratch),
            **dict(zip(("port", "port2", "port3"), ports, strict=True)),
        }
        self.port = ports[0]
        self.url = f"http://127.0.0.1:{self.port}{server.path}"
        # Nothing else of the caller's environment: neither its PYTHONDONTWRITEBYTECODE nor its thread settings.
        environ = {"PATH": os.environ["PATH"], "HOME": str(scratch), "LANG": "C.UTF-8"}
        environ.update((name, text.format(**values)) for name, text in server.environ.items())
        self._log = scratch / "log"
        with self._log.open("wb") as log:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [word.format(**values) for word in server.command],
                env=environ,
                cwd=server.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._scratch.cleanup()

    def pids(self) -> list[int]:
        """The server's processes."""
        return processes.session(self.process.pid)

    def wait_right(self) -> float:
        """Ask until the answer is right; returns seconds since the start of the process.

        Raises:
            ServerFailedError: it ended, or gave no right answer within ``MOST_SECONDS``.
        """
        problem: str | None = "no answer"
        while time.perf_counter() - self.started < MOST_SECONDS and self.process.poll() is None:
            problem = self.problem()
            if problem is None:
                return time.perf_counter() - self.started
            time.sleep(PAUSE_SECONDS)
        raise ServerFailedError(f"{self.server.name}: {problem}; its log ends:\n{self._log.read_text()[-2000:]}")

    def problem(self) -> str | None:
        """Ask once; returns what is wrong with the answer, or None."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", self.server.path, self.content, self.headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        if answer.status != 200:
            return f"status {answer.status}: {said[:300]!r}"
        return self._body.problem(self.server.form, said)


def _free_ports(count: int) -> list[int]:
    """Free ports below the range that outgoing connections are given (which the load would use up)."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)
