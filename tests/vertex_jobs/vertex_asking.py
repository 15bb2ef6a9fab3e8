"""What the tests of batch prediction jobs ask for."""

import json
from typing import Any

from fakes.storage_server import Storage
from fakes.vertex_jobs import VertexBatchServer
from fakes.vertex_registry import NUMBER, PROJECT

from lading.batches import VertexBatchReport
from lading.vertex_batch import BatchPrediction, batch_predict
from lading.vertex_jobs.options import JobOptions
from lading.wait import Deadline, poll

REGION = "europe-west4"
ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/k/cryptoKeys/c"


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def asked(image: str = "", *, options: dict[str, Any] | None = None, **changes: Any) -> BatchPrediction:
    made = {"project": PROJECT, "region": REGION, "inputs": ("gs://data/in/",), "output": "gs://out/predicted"}
    return BatchPrediction(**{**made, "image": image, "options": JobOptions(**options or {}), **changes})


def predict(
    server: VertexBatchServer, request: BatchPrediction, *, seconds: float = 60, **options: Any
) -> VertexBatchReport:
    deadline = Deadline.after(seconds)
    return batch_predict(request, environ={ENDPOINT: server.url}, deadline=deadline, most_seconds=0.1, **options)


def written(storage: Storage, report: VertexBatchReport, kind: str = "results") -> list[Any]:
    bucket, _, path = report.output.removeprefix("gs://").partition("/")
    content = storage.buckets[bucket][f"{path}/prediction.{kind}-00000-of-00001"].content
    return [json.loads(line) for line in content.splitlines()]


def upload(server: VertexBatchServer, image: str, id: str = "own", **more: Any) -> str:
    """A model that somebody else uploaded."""
    parent = f"projects/{NUMBER}/locations/{REGION}"
    spec = {
        "imageUri": image,
        "predictRoute": "/predict",
        "healthRoute": "/health",
        "env": [{"name": "K_REVISION", "value": "x"}],
    }
    body = {"modelId": id, "model": {"displayName": id, "containerSpec": spec, **more}}
    server.upload(parent, {}, body)
    name = f"{parent}/models/{id}"
    poll(lambda: server.models.get(name), deadline=Deadline.after(10), what="the model")
    return name.replace(NUMBER, PROJECT)


def wait_for(server: VertexBatchServer, state: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        return next((job for job in list(server.jobs.values()) if job["state"] == f"JOB_STATE_{state}"), None)

    return poll(there, deadline=Deadline.after(30), what=f"a job that is {state}")
