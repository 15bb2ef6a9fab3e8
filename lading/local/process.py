"""One process of a revision: started so that it survives this server, found again by the next one, ended as a group."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lading.errors import RevisionFailed
from lading.files import storage_errors, write_atomic
from lading.local.engines import Launch
from lading.wait import Deadline

KILL_SECONDS = 10.0
"""How long a process may take to end after SIGTERM."""

# The process waits until its record is written, and does not begin if this server dies before: nothing runs that the
# next server would not find. `exec` keeps the pid.
_GATE = 'read -r go || exit 1; exec "$@" </dev/null'


@dataclass(frozen=True)
class Record:
    """A running process, as the next server reads it."""

    pid: int
    identity: str
    """Tells the process from a later one with the same pid."""
    port: int
    cleanup: tuple[str, ...] = ()
    """A command to run when it has ended: what a container engine keeps beyond the process."""


class Process:
    """A process group that serves one revision.

    Args:
        record: Names the process.
        path: The file of the record.
        child: The process when this server started it; None when it was adopted.
    """

    def __init__(self, record: Record, path: Path, child: "subprocess.Popen[bytes] | None" = None) -> None:
        self.port = record.port
        self.pid = record.pid
        self._record, self._path, self._child = record, path, child

    def alive(self) -> bool:
        """Whether the process still runs."""
        if self._child is not None:
            return self._child.poll() is None
        return identity(self.pid) == self._record.identity

    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._child.poll() if self._child else None
        if code is None:
            return "the process ended"
        if code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process exited with code {code}"

    def end(self, *, seconds: float = KILL_SECONDS) -> None:
        """End the group: SIGTERM, and SIGKILL for what is left after ``seconds``. The record goes with it."""
        deadline = Deadline.after(seconds)
        if self.alive():
            _signal(self.pid, signal.SIGTERM)
            # A worker may take longer than its parent; and what bwrap runs, longer than bwrap.
            while (self.alive() or _group_lives(self.pid)) and not deadline.passed:
                deadline.sleep(0.02)
            _signal(self.pid, signal.SIGKILL)
            while self.alive():
                time.sleep(0.02)
        elif self._child is not None:  # workers may outlive their parent; an adopted pid may be another's by now
            _signal(self.pid, signal.SIGKILL)
        if self._record.cleanup:
            _clean_up(self._record.cleanup)
        self._path.unlink(missing_ok=True)


def start(launch: Launch, *, port: int, log: Path, record: Path) -> Process:
    """Start a process in a session of its own.

    Args:
        launch: What to run, and all of its environment.
        port: Where it will answer.
        log: Its output is appended there.
        record: Written before the program begins.

    Raises:
        RevisionFailed: the program cannot be started.
        StorageError: the log or the record cannot be written.
    """
    with storage_errors(log), log.open("ab") as output:
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "sh", *launch.command],
                cwd=launch.directory,
                env=dict(launch.env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RevisionFailed(f"cannot start a process in {launch.directory}: {error}") from error
    assert child.stdin is not None
    try:
        written = Record(child.pid, identity(child.pid) or "", port, launch.cleanup)
        write_atomic(record, json.dumps(asdict(written)), mode=0o600)
    except BaseException:
        child.stdin.close()
        child.wait()
        raise
    with contextlib.suppress(BrokenPipeError):  # it is dead already, which whoever watches it will see
        child.stdin.write(b"go\n")
        child.stdin.close()
    return Process(written, record, child)


def adopt(path: Path) -> Process | None:
    """The process of a record, if it still runs; a record without one is removed."""
    try:
        body = json.loads(path.read_bytes())
        record = Record(**{**body, "cleanup": tuple(body.get("cleanup", ()))})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink()
        return None
    if not record.identity or identity(record.pid) != record.identity:
        if record.cleanup:
            _clean_up(record.cleanup)
        path.unlink(missing_ok=True)
        return None
    return Process(record, path)


def identity(pid: int) -> str | None:
    """When a process started, which with its pid tells it from any other; None when it has ended."""
    if sys.platform == "linux":
        try:
            # proc_pid_stat(5): the name, in parentheses, may hold anything; then the state is the 1st field, the
            # start time the 20th.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _signal(pid: int, number: signal.Signals) -> None:
    # On macOS a group of zombies answers EPERM.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _group_lives(group: int) -> bool:
    """Whether any process of a group still runs."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    if sys.platform != "linux":
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_bytes().rpartition(b")")[2].split()  # state, parent, group: see `identity`
            if int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
                return True
    return False


def _clean_up(command: tuple[str, ...]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=KILL_SECONDS * 3, check=False)
