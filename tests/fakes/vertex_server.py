"""The REST API of Vertex AI Pipelines and of Cloud Logging, for the real google-cloud-aiplatform; what is sent, runs.

https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

import datetime
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes.job import Job
from fakes.service import JsonService, Refused

PARENT = r"/(?:v1|ui)/(projects/[^/]+/locations/[^/]+)"
STATES = {"running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELLED"}
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip
_TYPES = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool,
          "LIST": list, "STRUCT": dict}  # fmt: skip


class VertexServer(JsonService):
    """Pipeline jobs and schedules, in memory; ``env`` is the environment of the steps."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory, self.env = directory, env
        self.jobs: dict[str, Job] = {}
        self.sent: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.contexts: dict[str, dict[str, Any]] = {}
        super().__init__()
        job, schedule = rf"{PARENT}/pipelineJobs/([^/:]+)", rf"{PARENT}/schedules/([^/:]+)"
        context = rf"{PARENT}/metadataStores/default/contexts"
        self.routes = [
            ("POST", f"{PARENT}/pipelineJobs", self.create),
            ("GET", job, lambda parent, id, query, body: self.view(f"{parent}/pipelineJobs/{id}")),
            ("POST", f"{job}:cancel", self.cancel),
            ("POST", f"{PARENT}/schedules", self.create_schedule),
            ("GET", f"{PARENT}/schedules", lambda parent, query, body: {"schedules": list(self.schedules.values())}),
            ("GET", schedule, lambda parent, id, query, body: self.known(self.schedules, f"{parent}/schedules/{id}")),
            ("POST", f"{schedule}:pause", lambda parent, id, query, body: self.switch(parent, id, "PAUSED")),
            ("POST", f"{schedule}:resume", lambda parent, id, query, body: self.switch(parent, id, "ACTIVE")),
            ("DELETE", schedule, self.delete_schedule),
            ("POST", "/v2/entries:list", self.entries),
            ("GET", f"{PARENT}/metadataStores/default", self.store),
            ("POST", context, self.create_context),
            ("GET", f"{context}/([^/:]+)", self.context),
            ("POST", f"{context}/([^/:]+):addContextChildren", self.add_children),
        ]  # fmt: skip

    def close(self) -> None:
        self.stop()
        for job in self.jobs.values():
            job.cancel()

    def fire(self, schedule_id: str) -> str:
        """Start the run of a schedule, as its hour would; the id of the job."""
        name, schedule = next((n, s) for n, s in self.schedules.items() if n.endswith(f"/{schedule_id}"))
        if schedule["state"] != "ACTIVE":
            raise AssertionError("a paused schedule starts nothing")
        request = schedule["createPipelineJobRequest"]
        made = self.create(request["parent"], query={}, body=request["pipelineJob"])
        return str(made["name"].rpartition("/")[2]) if name else ""

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL")}}

    def known(self, things: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
        if name not in things:
            raise Refused(404, f"{name} is not found.")
        return things[name]

    def create(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        spec, runtime = body["pipelineSpec"], body.get("runtimeConfig", {})
        id = query.get("pipelineJobId") or f"{spec['pipelineInfo']['name']}-{uuid.uuid4().int % 10**14}"
        name = f"{parent}/pipelineJobs/{id}"
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", id) or name in self.sent:
            raise Refused(400, f"Invalid or used pipeline job id: {id}.")
        given = runtime.get("parameterValues", {})
        self.check(spec, given)
        job_id = str(uuid.uuid4().int % 10**18)
        self.jobs[name] = Job(spec, given, self.directory / id, self.env, name=id, job_id=job_id)
        self.sent[name] = {**body, "name": name, "createTime": _iso(datetime.datetime.now().timestamp())}
        self.contexts[f"{parent}/metadataStores/default/contexts/{id}"] = {
            "name": f"{parent}/metadataStores/default/contexts/{id}", "schemaTitle": "system.PipelineRun"
        }  # fmt: skip
        return self.view(name)

    def check(self, spec: dict[str, Any], given: dict[str, Any]) -> None:
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for key, value in given.items():
            if key not in declared:
                raise Refused(400, f"Unknown runtime parameter {key}.")
            kind = declared[key]["parameterType"]
            if not isinstance(value, _TYPES[kind]):
                raise Refused(400, f"Parameter {key} is not of type {kind}.")

    def view(self, name: str) -> dict[str, Any]:
        sent, job = self.known(self.sent, name), self.jobs.get(name)
        assert job
        view = {**sent, "state": f"PIPELINE_STATE_{STATES[job.state]}"}
        parent, _, id = name.partition("/pipelineJobs/")
        context = self.contexts[f"{parent}/metadataStores/default/contexts/{id}"]
        view["jobDetail"] = {"taskDetails": self.tasks(name, job), "pipelineRunContext": context}
        if job.state == "failed":
            view["error"] = {"code": 9, "message": "The DAG failed because some tasks failed."}
        return view

    def tasks(self, name: str, job: Job) -> list[dict[str, Any]]:
        """The pipeline itself comes as a task too, without an executor."""
        root = {"taskId": "1", "taskName": name.rpartition("/")[2], "state": STATES[job.state]}
        found: list[dict[str, Any]] = [root]
        for number, step in enumerate(list(job.steps.values()), start=2):
            task = {
                "taskId": str(number),
                "parentTaskId": "1",
                "taskName": step.name,
                "state": STATES[step.status],
                "startTime": _iso(step.started),
                "executorDetail": {"containerDetail": {"mainJob": f"{name.partition('/pipelineJobs/')[0]}/customJobs/"
                                                       f"{name.rpartition('/')[2]}.{step.name}"}},
            }  # fmt: skip
            if step.ended:
                task["endTime"] = _iso(step.ended)
            if step.status == "failed":
                task["error"] = {"code": 9, "message": "The replica workerpool0-0 exited with a non-zero status of 1."}
            found.append(task)
        return found

    def cancel(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.sent, f"{parent}/pipelineJobs/{id}")
        self.jobs[f"{parent}/pipelineJobs/{id}"].cancel()
        return {}

    def create_schedule(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        name = f"{parent}/schedules/{uuid.uuid4().int % 10**18}"
        self.schedules[name] = {**body, "name": name, "state": "ACTIVE", "nextRunTime": "2030-01-07T06:00:00Z"}
        return self.schedules[name]

    def switch(self, parent: str, id: str, state: str) -> Any:
        self.known(self.schedules, f"{parent}/schedules/{id}")["state"] = state
        return {}

    def delete_schedule(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.schedules, f"{parent}/schedules/{id}")
        del self.schedules[f"{parent}/schedules/{id}"]
        return {"name": f"{parent}/operations/1", "done": True,
                "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}  # fmt: skip

    def entries(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        found = re.fullmatch(r'resource.type="ml_job" AND resource.labels.job_id="(.+)\.([^.]+)"', body["filter"])
        if not found or body["orderBy"] != "timestamp desc":
            raise Refused(400, f"unreadable request {body}")
        job = next((job for name, job in self.jobs.items() if name.endswith(f"/{found[1]}")), None)
        lines = job.log(found[2]).splitlines() if job else []
        return {"entries": [{"textPayload": line} for line in reversed(lines)][: body["pageSize"]]}

    def store(self, parent: str, query: dict[str, str], body: Any) -> Any:
        return {"name": f"{parent}/metadataStores/default"}

    def context(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        return self.known(self.contexts, f"{parent}/metadataStores/default/contexts/{id}")

    def create_context(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        name = f"{parent}/metadataStores/default/contexts/{query['contextId']}"
        if name in self.contexts:
            raise Refused(409, f"{name} already exists.")
        self.contexts[name] = {**body, "name": name}
        return self.contexts[name]

    def add_children(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        context = self.known(self.contexts, f"{parent}/metadataStores/default/contexts/{id}")
        context.setdefault("children", []).extend(body["childContexts"])
        return {}


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
