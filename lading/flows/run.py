"""Run a compiled pipeline on this machine, and leave the service as it should be, however the run ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lading.files import storage_errors
from lading.flows.ending import last_error, outcome_of, undo_open_release
from lading.run_report import StepRecord
from lading.spec.ir import Pipeline

KEPT_RUNS = 10
"""Directories of finished runs that are kept; older ones are removed when a run starts."""

_GRACE_SECONDS = 10.0


@dataclass
class Run:
    """A run as it goes: what the steps did so far."""

    directory: Path
    pipeline: str
    parameters: dict[str, Any]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: list[StepRecord] = field(default_factory=list)
    outcome: str = "failed"
    problem: str = ""
    seconds: float = 0.0
    undone: str = ""
    """What became of the service because the run did not end well; empty when nothing did."""

    @property
    def logs(self) -> Path:
        """One file for each step."""
        return self.directory / "logs"

    @property
    def root(self) -> Path:
        """KFP's pipeline root: the artifacts of this run alone."""
        return self.directory / "artifacts"

    @property
    def job(self) -> str:
        """The job name that KFP gave this run; empty before the first step."""
        names = [path.name for path in self.root.iterdir() if path.is_dir()] if self.root.is_dir() else []
        return names[0] if names else ""

    def output(self, step: str, name: str) -> Path | None:
        """The file or directory of an output artifact, if the step wrote it."""
        path = self.root / self.job / step / name
        return path if self.job and path.exists() else None

    def ended(self, name: str) -> StepRecord | None:
        """The record of a step that ended."""
        return next((step for step in self.steps if step.name == name), None)


def new_run(name: str, pipeline: Path, parameters: dict[str, Any], runs: Path) -> Run:
    """Make the directory of a new run, and remove those of old ones.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    directory = runs / f"{Path(name).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    run = Run(directory, name, {**Pipeline.load(pipeline).defaults, **parameters})
    with storage_errors(directory):
        run.logs.mkdir(parents=True)
        run.root.mkdir()
    ended = sorted((path.parent for path in runs.glob("*/report.json")), key=lambda path: path.stat().st_mtime)
    for old in ended[: -KEPT_RUNS + 1]:
        shutil.rmtree(old)
    return run


def execute(run: Run, pipeline: Path, *, environ: Mapping[str, str], watch: Callable[[dict[str, Any]], None]) -> None:
    """Run the pipeline; afterwards ``run`` says how it went, and an open release of this run has been undone.

    SIGINT and SIGTERM end the steps, undo the release, and leave the outcome ``cancelled``.

    Args:
        run: Made by ``new_run``; filled in.
        pipeline: The compiled YAML.
        environ: The environment of the steps.
        watch: Called with each event: ``{"event": "started" | "ended", "step": …}``.
    """
    clock = time.monotonic()
    try:
        with _signals_raise(), _child(run, pipeline, environ) as child:
            _follow(run, child, watch)
    except KeyboardInterrupt:
        promoted = run.ended("promote")
        done = promoted is not None and promoted.status == "succeeded"
        after = "after the promotion: the new revision serves" if done else "and stopped"
        run.outcome, run.problem = "cancelled", f"interrupted {after}"
    finally:
        with _signals_wait():
            _settle(run, environ)
        run.seconds = time.monotonic() - clock


def _follow(run: Run, child: "subprocess.Popen[str]", watch: Callable[[dict[str, Any]], None]) -> None:
    """Turn the events of the child into step records."""
    running: dict[str, float] = {}
    done = None
    assert child.stdout is not None
    try:
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "started":
                running[event["step"]] = event["at"]
            elif event["event"] == "ended":
                seconds = event["at"] - running.pop(event["step"])
                run.steps.append(StepRecord(event["step"], "succeeded" if event["ok"] else "failed", round(seconds, 3)))
            elif event["event"] == "done":
                done = event
            watch(event)
    finally:
        now = time.time()
        run.steps += [StepRecord(step, "running", round(now - at, 3)) for step, at in running.items()]
    run.outcome = outcome_of(run.steps, succeeded=bool(done and done["ok"]))
    failed = [step.name for step in run.steps if step.status == "failed"]
    if run.outcome == "rejected":
        run.problem = _error_of(run, failed[0])
    elif failed:
        run.problem = f"step {failed[0]}: {_error_of(run, failed[0])}"
    elif run.outcome == "failed":
        run.problem = done["problem"] if done else f"the runner ended without a word; see {run.logs / 'run.log'}"


def _error_of(run: Run, step: str) -> str:
    """Why a step failed, by its log."""
    return last_error((run.logs / f"{step}.log").read_text(errors="replace").splitlines())


@contextmanager
def _child(run: Run, pipeline: Path, environ: Mapping[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """The runner process, leader of its own group; after the block nothing of the group is left."""
    request = {"pipeline": str(pipeline), "parameters": run.parameters, "root": str(run.root), "logs": str(run.logs)}
    with (run.logs / "run.log").open("a") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "lading.flows.local_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(environ),
            start_new_session=True,
        )
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        yield child
        child.wait(_GRACE_SECONDS)
    finally:
        with _signals_wait():
            _end_group(child)
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _end_group(child: "subprocess.Popen[str]") -> None:
    """End the runner and its steps: SIGINT first, so that they clean up, then SIGKILL."""
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE_SECONDS)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _settle(run: Run, environ: Mapping[str, str]) -> None:
    """Undo the release of this run if it is still open."""
    job = run.job
    if not job or run.outcome == "promoted":
        return
    run.undone, problem = undo_open_release(run.parameters, lambda id: id.startswith(f"{job}."), environ=environ)
    if problem:
        run.problem += f"; {problem}"


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise KeyboardInterrupt, whatever the shell had set."""
    with _handlers(signal.default_int_handler):
        yield


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM are ignored: what is being cleaned up must not be cut off."""
    with _handlers(signal.SIG_IGN):
        yield


@contextmanager
def _handlers(handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
