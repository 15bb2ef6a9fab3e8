"""The process that runs a compiled pipeline through ``kfp.local``: ``python -m lading.flows.local_runner``.

It reads one line of JSON from standard input, the request, and writes one line of JSON for each event to standard
output. It leads a process group of its own, to which all steps belong, so that one signal ends everything; when whoever
started it is gone (standard input ends), it ends the group itself.

KFP tells what its steps do only through the root logger and prints their output through ``sys.stdout``; both are taken
here, so that each step has its own log file and the rest of KFP stays as it is.
"""

import builtins
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"^Executing task '(.+)'$")
_ENDED = re.compile(r"^Task '(.+)' finished with status (SUCCESS|FAILURE)$")


class _Events(logging.Filter):
    """Watches KFP's log records: reports steps, and sends the output that follows to the log of the step."""

    def __init__(self, out: TextIO, logs: Path) -> None:
        super().__init__()
        self._out = out
        self._logs = logs
        self.log = _Log(logs / "run.log")

    def send(self, **event: Any) -> None:
        self._out.write(json.dumps({**event, "at": time.time()}) + "\n")
        self._out.flush()

    def filter(self, record: logging.LogRecord) -> bool:
        message = _COLOUR.sub("", record.getMessage())
        if found := _STARTED.match(message):
            self.log.use(self._logs / f"{found[1]}.log")
            self.send(event="started", step=found[1])
        elif found := _ENDED.match(message):
            self.send(event="ended", step=found[1], ok=found[2] == "SUCCESS")
            self.log.use(self._logs / "run.log")
        return True


class _Log(io.TextIOBase):
    """A text stream whose file can be changed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def use(self, path: Path) -> None:
        self._file.close()
        self._file = path.open("a")

    def write(self, text: str) -> int:
        written = self._file.write(text)
        self._file.flush()
        return written

    def flush(self) -> None:
        self._file.flush()


def main() -> int:
    """Run the pipeline that standard input asks for."""
    # A shell starts background jobs with SIGINT ignored, which steps would inherit: they need it to clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    events = _Events(os.fdopen(os.dup(1), "w"), Path(request["logs"]))
    sys.stdout = events.log
    try:
        _run(request, events)
    except RuntimeError as error:  # how kfp.local reports that a step failed
        events.send(event="done", ok=False, problem=_COLOUR.sub("", str(error)))
        return 3
    events.send(event="done", ok=True, problem="")
    return 0


def _run(request: dict[str, Any], events: _Events) -> None:
    from kfp import components, local

    # KFP's exit leaves print replaced by one that indents.
    own_print = builtins.print
    logging.getLogger().addFilter(events)
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=request["root"], raise_on_error=True, enable_caching=False)
    pipeline = components.load_component_from_file(request["pipeline"])
    events.send(event="ready")
    try:
        pipeline(**request["parameters"])
    finally:
        builtins.print = own_print


def _end_with_parent() -> None:
    # Not sys.stdin.read(): a thread that holds its lock aborts the interpreter when it exits.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
