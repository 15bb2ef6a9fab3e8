"""A command of lading as a process that listens, for tests that ask it over the network."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Listening:
    """A process that listens."""

    process: "subprocess.Popen[str]"
    port: int
    lines: list[dict[str, Any]]
    """Of its log, also those that are still to come."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def logged(self, message: str, **fields: object) -> dict[str, Any]:
        """The first line of the log with this message and these fields, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["message"] == message and fields.items() <= line.items()]

        until(lambda: bool(found()))
        return found()[0]


def until(probe: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait for something that comes soon."""
    limit = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


@contextmanager
def listening(*words: str, prefix: Sequence[str] = (), **environ: str) -> Iterator[Listening]:
    """``lading WORDS --host 127.0.0.1``, once it listens, until the block ends; ``prefix`` comes before its command."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "lading", *words, "--host", "127.0.0.1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    rest: threading.Thread | None = None
    try:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        said = []
        for text in process.stderr:
            said.append(text)
            if not text.startswith("{"):  # TensorFlow's C library has lines of its own, which nothing turns off
                continue
            lines.append(json.loads(text))
            if lines[-1]["message"] == "listening":
                break
        else:
            pytest.fail("it ended before it listened: " + "".join(said))
        rest = threading.Thread(target=_read_on, args=(process.stderr, lines))
        rest.start()
        yield Listening(process, lines[-1]["port"], lines)
    finally:
        process.kill()
        process.wait()
        if rest is not None:
            rest.join()
        if process.stderr is not None:
            process.stderr.close()


def _read_on(stderr: Any, lines: list[dict[str, Any]]) -> None:
    for text in stderr:
        if text.startswith("{"):
            lines.append(json.loads(text))
        else:
            sys.stderr.write(text)
