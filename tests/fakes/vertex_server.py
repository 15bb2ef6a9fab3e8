"""The REST API of Vertex AI Pipelines and of Cloud Logging, for the real google-cloud-aiplatform; what is sent, runs.

https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

import datetime
import itertools
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fakes.job import Job, JobStep
from fakes.service import JsonService, Refused

from lading.spec.ir import Pipeline

PARENT = r"/(?:v1|ui)/(projects/[^/]+/locations/[^/]+)"
STATES = {"running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELLED"}
NO_SUCH_REGION = (
    "<!DOCTYPE html>\n<html lang=en><title>Error 404 (Not Found)!!1</title>"
    "<p><b>404.</b> <ins>That’s an error.</ins><p>The requested URL was not found on this server.</html>"
)
PROJECT_NUMBER = "401977096985"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip
_TYPES = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool,
          "LIST": list, "STRUCT": dict}  # fmt: skip


class VertexServer(JsonService):
    """Pipeline jobs and schedules, in memory; ``env`` is the environment of the steps.

    ``cached``: names of tasks that are reported as taken from the cache. ``regions``: where there is a service.
    """

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory, self.env = directory, env
        self.jobs: dict[str, Job] = {}
        self.sent: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.contexts: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.custom_jobs: dict[str, tuple[Job, str]] = {}
        self.cached: set[str] = set()
        self.regions = {"us-central1", "europe-west4"}
        self._numbers = itertools.count(4569671626135699456)
        super().__init__()
        job, schedule = rf"{PARENT}/pipelineJobs/([^/:]+)", rf"{PARENT}/schedules/([^/:]+)"
        context = rf"{PARENT}/metadataStores/default/contexts"
        self.routes = [
            ("POST", f"{PARENT}/pipelineJobs", self.create),
            ("GET", f"{PARENT}/pipelineJobs", self.list_jobs),
            ("GET", job, lambda parent, id, query, body: self.view(f"{parent}/pipelineJobs/{id}")),
            ("DELETE", job, self.delete_job),
            ("POST", f"{job}:cancel", self.cancel),
            ("POST", f"{PARENT}/schedules", self.create_schedule),
            ("GET", f"{PARENT}/schedules", self.list_schedules),
            ("GET", schedule, lambda parent, id, query, body: self.known(self.schedules, f"{parent}/schedules/{id}")),
            ("POST", f"{schedule}:pause", lambda parent, id, query, body: self.switch(parent, id, "PAUSED")),
            ("POST", f"{schedule}:resume", lambda parent, id, query, body: self.switch(parent, id, "ACTIVE")),
            ("DELETE", schedule, self.delete_schedule),
            ("GET", rf"{PARENT}/operations/(\d+)", self.operation),
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

    def restart(self) -> None:
        """Drop every connection and listen again on the same port, with everything that was known."""
        self.stop()
        self.start()

    def fire(self, schedule_id: str) -> str:
        """Start the run of a schedule, as its hour would; the id of the job."""
        schedule = next(s for name, s in self.schedules.items() if name.endswith(f"/{schedule_id}"))
        if schedule["state"] != "ACTIVE":
            raise AssertionError("a paused schedule starts nothing")
        request = schedule["createPipelineJobRequest"]
        made = self.create(request["parent"], query={}, body=request["pipelineJob"])
        return str(made["name"].rpartition("/")[2])

    def error(self, code: int, message: str) -> Any:
        if message.startswith("<!DOCTYPE"):
            return message
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL")}}

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        region = re.match(rf"{PARENT}/", path)
        if region and region[1].rpartition("/")[2] not in self.regions:
            raise Refused(404, NO_SUCH_REGION)
        return super().handle(method, path, query, body)

    def known(self, things: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
        if name not in things:
            raise Refused(404, f"{name} is not found.")
        return things[name]

    def page(self, key: str, every: list[Any], query: dict[str, str]) -> dict[str, Any]:
        first, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or 100)
        more = {"nextPageToken": str(first + size)} if len(every) > first + size else {}
        return {key: every[first : first + size], **more}

    def create(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        spec, runtime = body["pipelineSpec"], body.get("runtimeConfig", {})
        id = query.get("pipelineJobId") or f"{spec['pipelineInfo']['name']}-{uuid.uuid4().int % 10**14}"
        name = f"{parent}/pipelineJobs/{id}"
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", id):
            raise Refused(400, f"Invalid pipeline job id: {id}.")
        if name in self.sent:
            raise Refused(409, f"The PipelineJob {name} already exists.")
        if not runtime.get("gcsOutputDirectory", "").startswith("gs://"):
            raise Refused(400, "runtime_config.gcs_output_directory is required.")
        given = runtime.get("parameterValues", {})
        self.check(spec, given)
        number = str(next(self._numbers))
        self.jobs[name] = Job(spec, given, self.directory / id, self.env, name=id, job_id=number)
        self.sent[name] = {**body, "name": name, "createTime": _iso(time.time())}
        # Neither tasks nor a context yet: they come up with the run.
        return {**self.sent[name], "state": "PIPELINE_STATE_PENDING"}

    def check(self, spec: dict[str, Any], given: dict[str, Any]) -> None:
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for key, value in given.items():
            if key not in declared:
                raise Refused(400, f"Unknown runtime parameter {key}.")
            kind = declared[key]["parameterType"]
            right = isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "BOOLEAN")
            if not right or (kind == "NUMBER_INTEGER" and int(value) != value):
                raise Refused(400, f"Parameter {key} is not of type {kind}.")
        for key, one in declared.items():
            if key not in given and "defaultValue" not in one and not one.get("isOptional"):
                raise Refused(400, f"Missing required runtime parameter {key}.")

    def list_jobs(self, parent: str, query: dict[str, str], body: Any) -> Any:
        return self.page("pipelineJobs", [self.view(name) for name in self.sent], query)

    def view(self, name: str) -> dict[str, Any]:
        sent = self.known(self.sent, name)
        job = self.jobs[name]
        state, steps = job.state, list(job.steps.values())
        parent, _, id = name.partition("/pipelineJobs/")
        where = f"{parent}/metadataStores/default/contexts/{id}"
        context = self.contexts.setdefault(where, {"name": where, "schemaTitle": "system.PipelineRun"})
        tasks = list(self.tasks(name, state, steps))
        view = {**sent, "state": f"PIPELINE_STATE_{STATES[state]}"}
        view["jobDetail"] = {"taskDetails": tasks, "pipelineRunContext": context}
        if state == "failed":
            failed = ", ".join(step.name for step in steps if step.status == "failed")
            view["error"] = {"code": 9, "message": "The DAG failed because some tasks failed. The failed tasks are: "
                                                   f"[{failed}]."}  # fmt: skip
        return view

    def tasks(self, name: str, state: str, steps: list[JobStep]) -> Iterator[dict[str, Any]]:
        """The pipeline itself comes as a task too, and so does each group; both without an executor."""
        begun = {step.name: step for step in steps}
        yield {"taskId": "1", "taskName": name.rpartition("/")[2], "state": STATES[state]}
        ids, spec = {"root": "1"}, self.sent[name]["pipelineSpec"]
        for number, task in enumerate(Pipeline(spec, {}, "sent").tasks(), start=2):
            head = {"taskId": str(number), "parentTaskId": ids.get(task.group, "1"), "taskName": task.name}
            if task.is_group:
                ids[task.spec["componentRef"]["name"]] = str(number)
                inside = [begun[step] for step in _inside(task.component, spec["components"]) if step in begun]
                if inside or state != "running":
                    yield {**head, "state": _of_group(inside)}
            elif task.name in begun:
                yield {**head, **self.execution(name, begun[task.name])}

    def execution(self, name: str, step: JobStep) -> dict[str, Any]:
        if step.name in self.cached:
            return {"state": "SKIPPED", "startTime": _iso(step.started), "endTime": _iso(step.started)}
        job = self.jobs[name]
        number = next((n for n, known in self.custom_jobs.items() if known == (job, step.name)), "")
        if not number:
            number = str(next(self._numbers))
            self.custom_jobs[number] = (job, step.name)
        region = name.split("/")[3]
        main = f"projects/{PROJECT_NUMBER}/locations/{region}/customJobs/{number}"
        found = {
            "state": STATES[step.status],
            "startTime": _iso(step.started),
            "executorDetail": {"containerDetail": {"mainJob": main}},
        }
        if step.ended:
            found["endTime"] = _iso(step.ended)
        if step.status == "failed":
            found["error"] = {
                "code": 9,
                "message": "The replica workerpool0-0 exited with a non-zero status of 1. To find out more about why "
                "your job exited please check the logs: https://console.cloud.google.com/logs/viewer?project="
                f"{PROJECT_NUMBER}&resource=ml_job%2Fjob_id%2F{number}",
            }
        return found

    def cancel(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.sent, f"{parent}/pipelineJobs/{id}")
        self.jobs[f"{parent}/pipelineJobs/{id}"].cancel()
        return {}

    def delete_job(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        name = f"{parent}/pipelineJobs/{id}"
        if self.view(name)["state"] == "PIPELINE_STATE_RUNNING":
            raise Refused(400, f"The PipelineJob {name} is running and cannot be deleted.")
        del self.sent[name], self.jobs[name]
        return self.deleted(parent)

    def create_schedule(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        name = f"{parent}/schedules/{next(self._numbers)}"
        self.schedules[name] = {**body, "name": name, "state": "ACTIVE", "nextRunTime": "2030-01-07T06:00:00Z"}
        return self.schedules[name]

    def list_schedules(self, parent: str, query: dict[str, str], body: Any) -> Any:
        return self.page("schedules", list(self.schedules.values()), query)

    def switch(self, parent: str, id: str, state: str) -> Any:
        self.known(self.schedules, f"{parent}/schedules/{id}")["state"] = state
        return {}

    def delete_schedule(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.schedules, f"{parent}/schedules/{id}")
        del self.schedules[f"{parent}/schedules/{id}"]
        return self.deleted(parent)

    def deleted(self, parent: str) -> dict[str, Any]:
        """An operation that is done when it is asked for."""
        name = f"{parent}/operations/{next(self._numbers)}"
        self.operations[name] = {"name": name, "done": True,
                                 "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}  # fmt: skip
        return {"name": name, "done": False}

    def operation(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        return self.known(self.operations, f"{parent}/operations/{id}")

    def entries(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        wanted = r'resource.type="ml_job" AND resource.labels.job_id="(\d+)"(?: AND timestamp>="([^"]+)")?'
        found = re.fullmatch(wanted, body["filter"])
        if not found or body["orderBy"] != "timestamp desc":
            raise Refused(400, f"unreadable request {body}")
        since = datetime.datetime.fromisoformat(found[2]).timestamp() if found[2] else 0.0
        job, step = self.custom_jobs.get(found[1], (None, ""))
        lines = job.log(step).splitlines() if job and job.steps[step].started >= since else []
        written = [
            {"jsonPayload": {"attrs": {"tag": "workerpool0-0"}, "levelname": "ERROR", "message": line}}
            for line in lines
        ]
        return {"entries": written[::-1][: body["pageSize"]]} if written else {}

    def store(self, parent: str, query: dict[str, str], body: Any) -> Any:
        return {"name": f"{parent}/metadataStores/default"}

    def context(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        return self.known(self.contexts, f"{parent}/metadataStores/default/contexts/{id}")

    def create_context(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        if not self.contexts:
            raise Refused(404, f"{parent}/metadataStores/default is not found.")  # the first job makes it
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", query["contextId"]):
            raise Refused(400, f"Invalid context id: {query['contextId']}.")
        name = f"{parent}/metadataStores/default/contexts/{query['contextId']}"
        if name in self.contexts:
            raise Refused(409, f"{name} already exists.")
        self.contexts[name] = {**body, "name": name}
        return self.contexts[name]

    def add_children(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        context = self.known(self.contexts, f"{parent}/metadataStores/default/contexts/{id}")
        context.setdefault("children", []).extend(body["childContexts"])
        return {}


def _inside(component: dict[str, Any], components: dict[str, Any]) -> Iterator[str]:
    """Every task in a group, also those in groups of the group."""
    for name, task in component.get("dag", {}).get("tasks", {}).items():
        yield name
        yield from _inside(components.get(task["componentRef"]["name"], {}), components)


def _of_group(inside: list[JobStep]) -> str:
    states = {step.status for step in inside}
    worst = next((state for state in ("running", "failed", "cancelled") if state in states), "succeeded")
    return STATES[worst] if inside else "NOT_TRIGGERED"


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")
