"""The REST API of Vertex AI's batch prediction jobs, for the real google-cloud-aiplatform; jobs run the model's image.

Rows come from a fake Cloud Storage, and predictions go there. Tables of BigQuery are lists of rows, in memory.
https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
"""

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

from fakes.instances import Instances, instances_of
from fakes.served_image import ServedImage
from fakes.service import Refused
from fakes.storage_server import Storage
from fakes.vertex_registry import PARENT, check_labels, now
from fakes.vertex_serving_server import VertexServingServer
from google.cloud.aiplatform_v1 import BatchPredictionJob
from google.protobuf import json_format

_MACHINES = {"n1-standard-2", "n1-standard-4", "n1-highmem-8"}
_FORMATS = {"jsonl", "csv", "tf-record", "tf-record-gzip", "file-list", "bigquery"}
_ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
_DEFAULT_BATCH = 64


class VertexBatchServer(VertexServingServer):
    """Batch prediction jobs beside endpoints and models.

    ``stuck``: jobs stay at work until they are cancelled. ``broken``: a status (code, message) with which jobs fail
    before they predict. ``counts``: False leaves out how many rows there are still to do. ``tables``: rows by
    ``PROJECT.DATASET.TABLE``. ``requests``: what was sent to models.
    """

    def __init__(self, images: Path, scratch: Path, storage: Storage) -> None:
        self.storage = storage
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[dict[str, Any]] = []
        self.stuck, self.counts = False, True
        self.broken: tuple[int, str] | None = None
        self.served: list[ServedImage] = []
        super().__init__(images, scratch)
        job = rf"{PARENT}/batchPredictionJobs/([^/:]+)"
        self.routes += [
            (
                "GET",
                rf"{PARENT}/models/([^/:]+)",
                lambda parent, id, query, body: self.version(f"{parent}/models/{id}"),
            ),
            ("POST", f"{PARENT}/batchPredictionJobs", self.create_job),
            ("GET", f"{PARENT}/batchPredictionJobs", self.list_jobs),
            ("GET", job, lambda parent, id, query, body: self.job(parent, id)),
            ("POST", f"{job}:cancel", self.cancel_job),
            ("DELETE", job, self.delete_job),
            ("GET", rf"{PARENT}/operations/(\d+)", self.job_operation),
        ]

    def close(self) -> None:
        for job in self.jobs.values():
            job["state"] = "JOB_STATE_CANCELLING" if job["state"] not in _ENDED else job["state"]
        super().close()
        for served in self.served:
            served.end()

    def job(self, parent: str, id: str) -> dict[str, Any]:
        name = f"{parent}/batchPredictionJobs/{id}"
        if name not in self.jobs:
            raise Refused(404, f"The BatchPredictionJob does not exist: {name}")
        return self.jobs[name]

    def create_job(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        try:
            json_format.ParseDict(body, BatchPredictionJob.pb(BatchPredictionJob()))
        except json_format.ParseError as error:
            raise Refused(400, f"Invalid JSON payload received. {error}") from error
        model = self.checked(body)
        made = now()
        name = f"{parent}/batchPredictionJobs/{next(self.numbers)}"
        job = {**body, "name": name, "state": "JOB_STATE_PENDING", "createTime": made, "updateTime": made,
               "model": model["name"].partition("@")[0], "modelVersionId": model["versionId"]}  # fmt: skip
        self.jobs[name] = job
        threading.Thread(target=self.run, args=(job, model), daemon=True).start()
        return dict(job)

    def checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """The model of a job that can be."""
        source, target, fields = (
            body.get("inputConfig", {}),
            body.get("outputConfig", {}),
            body.get("instanceConfig", {}),
        )
        resources = body.get("dedicatedResources", {})
        if not body.get("displayName") or not body.get("model"):
            raise Refused(400, "display_name and model are required.")
        check_labels(body)
        if source.get("instancesFormat") not in _FORMATS:
            raise Refused(400, f"Unsupported instances_format {source.get('instancesFormat')}.")
        if ("bigquerySource" in source) != (source["instancesFormat"] == "bigquery"):
            raise Refused(400, "The source does not match instances_format.")
        if target.get("predictionsFormat") != ("bigquery" if "bigqueryDestination" in target else "jsonl"):
            raise Refused(400, f"Unsupported predictions_format {target.get('predictionsFormat')}.")
        if fields.get("includedFields") and fields.get("excludedFields"):
            raise Refused(400, "Only one of included_fields and excluded_fields may be set.")
        if resources.get("machineSpec", {}).get("machineType") not in _MACHINES:
            raise Refused(400, f"Machine type is not supported: {resources}.")
        if resources.get("startingReplicaCount", 0) > resources.get("maxReplicaCount", 0) > 0:
            raise Refused(400, "starting_replica_count must not exceed max_replica_count.")
        model = self.version(body["model"])
        if body.get("generateExplanation") and "explanationSpec" not in model:
            raise Refused(400, "The model has no explanation_spec.")
        return model

    def list_jobs(self, parent: str, query: dict[str, str], body: Any) -> Any:
        wanted = re.fullmatch(r"labels\.([a-z0-9_-]+)=([a-z0-9_-]+)", query.get("filter", ""))
        if not wanted:
            raise Refused(400, f"Invalid filter {query.get('filter')}.")
        every = [dict(one) for one in self.jobs.values() if one.get("labels", {}).get(wanted[1]) == wanted[2]]
        first, size = int(query.get("pageToken") or 0), 2  # small pages, so that they are followed
        more = {"nextPageToken": str(first + size)} if len(every) > first + size else {}
        return {"batchPredictionJobs": every[first : first + size], **more}

    def cancel_job(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        job = self.job(parent, id)
        if job["state"] in _ENDED:
            raise Refused(400, f"The BatchPredictionJob {job['name']} has ended.")
        job["state"] = "JOB_STATE_CANCELLING"
        return {}

    def delete_job(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        job = self.job(parent, id)
        if job["state"] not in _ENDED:
            raise Refused(400, f"The BatchPredictionJob {job['name']} is running; cancel it first.")
        return self.start_operation(parent, lambda: self.gone(self.jobs, job["name"]))

    def job_operation(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        return dict(self.operations[f"{parent}/operations/{id}"])

    def run(self, job: dict[str, Any], model: dict[str, Any]) -> None:
        """Work on a job, from the start of its container to the end of its rows."""
        try:
            time.sleep(self.delay)
            self.step(job, state="JOB_STATE_RUNNING", startTime=now())
            while self.stuck:
                self.step(job)
                time.sleep(0.01)
            self.predict_rows(job, model)
        except _Cancelled:
            job.update(state="JOB_STATE_CANCELLED", error={"code": 1, "message": "CANCELED"}, endTime=now())
        except Refused as error:
            job.update(state="JOB_STATE_FAILED", error={"code": error.code, "message": str(error)}, endTime=now())

    def step(self, job: dict[str, Any], **changes: Any) -> None:
        with self.lock:
            if job["state"] == "JOB_STATE_CANCELLING":
                raise _Cancelled
            job.update(changes, updateTime=now())

    def predict_rows(self, job: dict[str, Any], model: dict[str, Any]) -> None:
        if self.broken:
            raise Refused(*self.broken)
        rows = instances_of(job, self.storage, self.tables)
        served = ServedImage(self.images, self.scratch / job["name"].rpartition("/")[2], model["containerSpec"])
        self.served.append(served)
        if not served.wait_until_healthy():
            raise Refused(9, "Model server terminated: model server container terminated: exit_code: 1. Model server "
                             "logs can be found at https://console.cloud.google.com/logs/viewer")  # fmt: skip
        size = job.get("manualBatchTuningParameters", {}).get("batchSize", _DEFAULT_BATCH)
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = list(rows.errors)
        for first in range(0, len(rows.sent), size):
            good, bad = self.predict_batch(served, rows, slice(first, first + size))
            results, errors = results + good, errors + bad
            left = {"incompleteCount": str(rows.total - len(results) - len(errors)) if self.counts else "-1"}
            counted = {"successfulCount": str(len(results)), "failedCount": str(len(errors)), **left}
            self.step(job, completionStats=counted)
        served.end()
        self.finish(job, model, results, errors)

    def predict_batch(self, served: ServedImage, rows: Instances, part: slice) -> tuple[list[Any], list[Any]]:
        body = {"instances": rows.sent[part]}
        self.requests.append(body)
        code, content, _ = served.predict(body)
        if code != 200:
            said = {
                "code": 3 if code == 400 else 13,
                "message": f"Post request fails. Cannot get predictions. {content.decode()}",
            }
            return [], [{**shown, "error": said} for shown in rows.shown[part]]
        found = json.loads(content)["predictions"]
        return [{**shown, "prediction": one} for shown, one in zip(rows.shown[part], found, strict=True)], []

    def finish(self, job: dict[str, Any], model: dict[str, Any], results: list[Any], errors: list[Any]) -> None:
        target = job["outputConfig"]
        stamp = re.sub(r"[:.]", "_", job["createTime"][:23]) + "Z"
        if "bigqueryDestination" in target:
            dataset, table = target["bigqueryDestination"]["outputUri"], f"predictions_{stamp}"
            self.tables[f"{dataset.removeprefix('bq://')}.{table}"] = results
            info = {"bigqueryOutputDataset": dataset, "bigqueryOutputTable": table}
        else:
            prefix = target["gcsDestination"]["outputUriPrefix"].rstrip("/")
            directory = f"{prefix}/prediction-{model['displayName']}-{stamp}"
            bucket, _, path = directory.removeprefix("gs://").partition("/")
            for name, lines in (("results", results), ("errors_stats", errors)):
                content = "".join(json.dumps(line) + "\n" for line in lines).encode()
                self.storage.put(bucket, f"{path}/prediction.{name}-00000-of-00001", content)
            info = {"gcsOutputDirectory": directory}
        reasons = {one["error"]["message"]: one["error"] for one in errors}
        if errors and not results:
            self.step(job, outputInfo=info, partialFailures=list(reasons.values())[:20])
            raise Refused(3, "All rows failed.")
        state = "JOB_STATE_PARTIALLY_SUCCEEDED" if errors else "JOB_STATE_SUCCEEDED"
        self.step(job, state=state, outputInfo=info, partialFailures=list(reasons.values())[:20], endTime=now())


class _Cancelled(Exception):
    """Somebody wants the job to end."""
