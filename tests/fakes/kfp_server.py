"""The v2beta1 API of Kubeflow Pipelines, for the real client and the real ``kfp`` command; what is sent, runs.

Shapes are those of release 2.17: ``run_details.task_details`` are the nodes of the Argo workflow, drivers and groups
among them, and the log of a pod is served by the user interface's ``/k8s/pod/logs``.
"""

import datetime
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes.job import Job
from fakes.service import JsonService, Refused

API = "/apis/v2beta1"
STATES = {"running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELED"}


class KfpServer(JsonService):
    """Experiments, runs, pipelines and recurring runs, in memory; ``env`` is the environment of the steps."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory, self.env = directory, env
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        super().__init__()
        run, job = rf"{API}/runs/([^/:]+)", rf"{API}/recurringruns/([^/:]+)"
        self.routes = [
            ("GET", f"{API}/healthz", lambda query, body: {"multi_user": False}),
            ("GET", f"{API}/experiments", self.list_experiments),
            ("POST", f"{API}/experiments", self.create_experiment),
            ("GET", f"{API}/runs", lambda query, body: {"runs": [self.view(id) for id in self.runs]}),
            ("POST", f"{API}/runs", lambda query, body: self.start_run(body)),
            ("GET", run, lambda id, query, body: self.view(id)),
            ("POST", f"{run}:terminate", self.terminate),
            ("GET", "/k8s/pod/logs", self.pod_logs),
            ("GET", f"{API}/recurringruns", self.list_recurring),
            ("POST", f"{API}/recurringruns", self.create_recurring),
            ("GET", job, lambda id, query, body: self.known(self.recurring, id)),
            ("DELETE", job, self.delete_recurring),
            ("POST", f"{job}:enable", lambda id, query, body: self.switch(id, "ENABLED")),
            ("POST", f"{job}:disable", lambda id, query, body: self.switch(id, "DISABLED")),
        ]  # fmt: skip

    def close(self) -> None:
        self.stop()
        for job in self.jobs.values():
            job.cancel()

    def fire(self, recurring_id: str) -> str:
        """Start the run of a schedule, as its hour would."""
        recurring = self.recurring[recurring_id]
        if recurring["status"] != "ENABLED":
            raise AssertionError("a paused schedule starts nothing")
        return str(self.start_run({**recurring, "display_name": f"{recurring['display_name']}-1"})["run_id"])

    def error(self, code: int, message: str) -> Any:
        return {"error": message, "error_message": message, "code": {401: 16, 403: 7, 404: 5, 400: 3}.get(code, 13)}

    def known(self, things: Mapping[str, dict[str, Any]], id: str) -> dict[str, Any]:
        if id not in things:
            raise Refused(404, f"ResourceNotFoundError: {id} not found")
        return things[id]

    def list_experiments(self, query: dict[str, str], body: Any) -> Any:
        wanted = [p["string_value"] if "string_value" in p else p.get("stringValue")
                  for p in json.loads(query.get("filter") or "{}").get("predicates", [])]  # fmt: skip
        found = [e for e in self.experiments.values() if not wanted or e["display_name"] in wanted]
        return {"experiments": found, "total_size": len(found)}

    def create_experiment(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        made = {"experiment_id": str(uuid.uuid4()), "display_name": body["display_name"], "created_at": _now()}
        self.experiments[made["experiment_id"]] = made
        return made

    def start_run(self, body: dict[str, Any]) -> dict[str, Any]:
        spec = body["pipeline_spec"].get("pipeline_spec", body["pipeline_spec"])
        given = body.get("runtime_config", {}).get("parameters") or {}
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        if unknown := sorted(set(given) - set(declared)):
            raise Refused(400, f"InvalidInputError: parameters {unknown} are not defined in the pipeline")
        self.known(self.experiments, body["experiment_id"])
        id = str(uuid.uuid4())
        self.jobs[id] = Job(
            spec, given, self.directory / id, self.env, name=body["display_name"], job_id=id
        )  # fmt: skip
        self.runs[id] = {
            **{key: body[key] for key in body if key in _KEPT},
            "run_id": id,
            "created_at": _now(),
            "storage_state": "AVAILABLE",
        }
        return self.view(id)

    def view(self, id: str) -> dict[str, Any]:
        run, job = self.known(self.runs, id), self.jobs.get(id)
        assert job
        view = {**run, "state": STATES[job.state], "run_details": {"task_details": self.nodes(id, job)}}
        if job.state == "failed":
            view["error"] = {"code": 13, "message": job.problem[:300]}
        return view

    def nodes(self, id: str, job: Job) -> list[dict[str, Any]]:
        root = {"run_id": id, "task_id": f"{id}-root", "display_name": "root", "state": STATES[job.state]}
        found = [root, {**root, "task_id": f"{id}-root-driver", "display_name": "root-driver", "state": "SUCCEEDED"}]
        for step in list(job.steps.values()):
            times = {"start_time": _iso(step.started), "end_time": _iso(step.ended)}
            pod = f"{id[:8]}-system-container-impl-{step.name}"
            state = STATES[step.status]
            found += [
                {"run_id": id, "task_id": f"{pod}-driver", "display_name": f"{step.name}-driver", "state": "SUCCEEDED",
                 "pod_name": f"{pod}-driver"},
                {"run_id": id, "task_id": f"{pod}-dag", "display_name": step.name, "state": state, **times,
                 "child_tasks": [{"task_id": f"{pod}-main"}]},
                {"run_id": id, "task_id": f"{pod}-main", "display_name": "executor", "state": state, **times,
                 "pod_name": pod},
            ]  # fmt: skip
        return found

    def terminate(self, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.runs, id)
        self.jobs[id].cancel()
        return {}

    def pod_logs(self, query: dict[str, str], body: Any) -> Any:
        for id, job in self.jobs.items():
            for name in job.steps:
                if query["podname"] == f"{id[:8]}-system-container-impl-{name}":
                    return job.log(name)
        raise Refused(500, "Could not get main container logs: pod not found")

    def list_recurring(self, query: dict[str, str], body: Any) -> Any:
        first, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
        every = list(self.recurring.values())
        more = {"next_page_token": str(first + size)} if len(every) > first + size else {}
        return {"recurringRuns": every[first : first + size], "total_size": len(every), **more}

    def create_recurring(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        cron = body["trigger"].get("cron_schedule", {}).get("cron", "")
        if len(cron.split()) != 6:
            raise Refused(400, f"InvalidInputError: Schedule cron is not a supported format(6 fields): {cron}")
        id = str(uuid.uuid4())
        status = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
        self.recurring[id] = {**body, "recurring_run_id": id, "status": status, "created_at": _now()}
        return self.recurring[id]

    def delete_recurring(self, id: str, query: dict[str, str], body: Any) -> Any:
        self.known(self.recurring, id)
        del self.recurring[id]
        return {}

    def switch(self, id: str, status: str) -> Any:
        self.known(self.recurring, id)["status"] = status
        return {}


_KEPT = ("experiment_id", "display_name", "pipeline_spec", "runtime_config", "service_account")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


def _iso(seconds: float | None) -> str:
    """Go's zero time for what has not happened."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat() if seconds else "0001-01-01T00:00:00Z"
