"""The REST API of Dataflow's jobs, for Beam's DataflowRunner and its real client; jobs run what was staged.

``--dataflow_endpoint=http://localhost:PORT``: with this name the client speaks REST, else gRPC with TLS. Pipelines come
from a fake Cloud Storage, as the service takes them, and run in a process of their own on Beam's portable runner.
https://docs.cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.jobs
"""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from fakes.iam_server import IamServer
from fakes.service import JsonService, Refused
from fakes.storage_server import Storage
from google.cloud import dataflow
from google.protobuf import json_format

_JOBS = "/v1b3/projects/([^/]+)/locations/([^/]+)/jobs"
_ENDED = {"JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


class DataflowServer(JsonService):
    """``jobs``: by id, as they were asked for, with ``currentState``. ``stuck``: jobs run until they are cancelled.

    ``refused``: what is said, with 403, to who wants a job.
    """

    def __init__(self, scratch: Path, storage: Storage, iam: IamServer) -> None:
        self.scratch, self.storage, self.iam = scratch, storage, iam
        self.jobs: dict[str, dict[str, Any]] = {}
        self.said: dict[str, list[dict[str, str]]] = {}
        self.stuck, self.refused = False, ""
        self.processes: list[subprocess.Popen[str]] = []
        super().__init__()
        self.routes += [
            ("POST", _JOBS, self.create),
            ("GET", f"{_JOBS}/([^/]+)", self.show),
            ("PUT", f"{_JOBS}/([^/]+)", self.update),
            ("GET", f"{_JOBS}/([^/]+)/messages", self.messages),
        ]

    @property
    def endpoint(self) -> str:
        return self.url.replace("127.0.0.1", "localhost")

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": "FAILED_PRECONDITION"}}

    def create(self, project: str, location: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        if not self.iam.claims(self.request_headers.get("Authorization", "").removeprefix("Bearer ")):
            raise Refused(401, "Request had invalid authentication credentials.")
        if self.refused:
            raise Refused(403, self.refused)
        try:
            json_format.ParseDict(body, dataflow.Job.pb(dataflow.Job()))
        except json_format.ParseError as error:
            raise Refused(400, f"Invalid JSON payload received. {error}") from error
        if any(job["name"] == body["name"] and job["currentState"] not in _ENDED for job in self.jobs.values()):
            raise Refused(409, f"There is already an active job named {body['name']}.")
        id = f"2026-01-01_00_00_00-{len(self.jobs) + 1}"
        job = {**body, "id": id, "projectId": project, "location": location, "currentState": "JOB_STATE_PENDING"}
        self.jobs[id], self.said[id] = job, []
        threading.Thread(target=self.run, args=(job,), daemon=True).start()
        return dict(job)

    def show(self, project: str, location: str, id: str, query: dict[str, str], body: Any) -> Any:
        if id not in self.jobs:
            raise Refused(404, f"Information about job {id} could not be found in our system.")
        return dict(self.jobs[id])

    def update(self, project: str, location: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        job = self.jobs[id]
        wanted = dataflow.JobState(body["requestedState"]) if body.get("requestedState") else None
        if wanted != dataflow.JobState.JOB_STATE_CANCELLED:
            raise Refused(400, f"not implemented: {body}")
        job["currentState"] = "JOB_STATE_CANCELLED"
        for process in self.processes:
            process.kill()
        return dict(job)

    def messages(self, project: str, location: str, id: str, query: dict[str, str], body: Any) -> Any:
        return {"jobMessages": self.said[id]}

    def run(self, job: dict[str, Any]) -> None:
        """Take the pipeline from where it was staged, and run it."""
        options = job["environment"]["sdkPipelineOptions"]["options"]
        bucket, _, name = options["pipelineUrl"].removeprefix("gs://").partition("/")
        pipeline = self.scratch / f"{job['id']}.pb"
        pipeline.write_bytes(self.storage.buckets[bucket][name].content)
        self.end(job, "JOB_STATE_RUNNING")
        if self.stuck:
            return
        command = [sys.executable, str(Path(__file__).with_name("dataflow_worker.py")), str(pipeline)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.processes.append(process)
            _, said = process.communicate()
        if process.returncode:
            trace = said[said.rfind("Traceback") :]
            told = {"id": "1", "time": "2026-01-01T00:00:00Z", "messageImportance": "JOB_MESSAGE_ERROR"}
            self.said[job["id"]].append({**told, "messageText": trace})
        self.end(job, "JOB_STATE_FAILED" if process.returncode else "JOB_STATE_DONE")

    def end(self, job: dict[str, Any], state: str) -> None:
        with self.lock:
            if job["currentState"] not in _ENDED:
                job["currentState"] = state

    def close(self) -> None:
        self.stop()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
