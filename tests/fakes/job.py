"""A submitted pipeline that really runs: through kfp.local, in a process of its own, for the fake backends."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lading.spec.ir import Pipeline


@dataclass
class JobStep:
    name: str
    status: str  # running, succeeded, failed, cancelled
    started: float
    ended: float | None = None


class Job:
    """Runs one PipelineSpec with the given parameters below ``directory``.

    ``state`` goes from "running" to "succeeded", "failed" or "cancelled"; ``steps`` follow the run; ``log(step)`` is
    what a step printed. ``name`` and ``job_id`` are what the pipeline's placeholders of the job stand for.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        parameters: dict[str, Any],
        directory: Path,
        env: Mapping[str, str],
        *,
        name: str = "",
        job_id: str = "",
    ) -> None:
        self.steps: dict[str, JobStep] = {}
        self.state = "running"
        self.problem = ""
        self._logs, root, pipeline = directory / "logs", directory / "artifacts", directory / "pipeline.yaml"
        for folder in (self._logs, root):
            folder.mkdir(parents=True)
        text = yaml.safe_dump(spec)
        if name:  # kfp.local would put its own
            text = text.replace("{{$.pipeline_job_name}}", name).replace("{{$.pipeline_job_uuid}}", job_id)
        pipeline.write_text(text)
        given = _as_declared(spec, parameters)
        with (self._logs / "run.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lading.flows.local_runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(env),
                start_new_session=True,
            )
        assert self._process.stdin
        request = {"pipeline": str(pipeline), "parameters": given, "root": str(root), "logs": str(self._logs)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """As Vertex and KFP do it: the steps are killed, no exit handler runs."""
        if self.state == "running":
            self.state = "cancelled"
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join(10)

    def log(self, step: str) -> str:
        path = self._logs / f"{step}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _follow(self) -> None:
        assert self._process.stdout
        assert self._process.stdin
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "started":
                self.steps[event["step"]] = JobStep(event["step"], "running", event["at"])
            elif event["event"] == "ended":
                step = self.steps[event["step"]]
                step.ended, step.status = event["at"], "succeeded" if event["ok"] else "failed"
            elif event["event"] == "done" and self.state == "running":
                self.problem = event["problem"]
                self.state = "succeeded" if event["ok"] else "failed"
        if self.state == "running":
            self.state, self.problem = "failed", (self._logs / "run.log").read_text()[-2000:]
        for step in self.steps.values():
            if step.status == "running":
                step.status = "cancelled" if self.state == "cancelled" else "failed"
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


def _as_declared(spec: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters; JSON has one kind of number: 3 is a double and 3.0 is whole, where that is declared."""
    sent = Pipeline(spec, {}, "sent")
    kinds = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}
    return sent.defaults | {
        name: kinds.get(sent.parameters[name]["parameterType"], lambda same: same)(value)
        for name, value in parameters.items()
    }
