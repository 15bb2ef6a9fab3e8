"""Batch prediction jobs of the API, and their errors in lading's words.

API: ``google.cloud.aiplatform.v1``, JobService.
"""

import uuid
from typing import Any

from lading.errors import QuotaExceeded, RemoteError, ServiceUnreachable
from lading.vertex_api import VertexApi, seconds
from lading.wait import Deadline

REQUEST_LABEL = "lading-request"
"""What the job was asked to do: the same for the same request."""
_ATTEMPT_LABEL = "lading-attempt"
_REQUEST_SECONDS = 60.0
_CONSOLE = "https://console.cloud.google.com/vertex-ai"

RUNNING = frozenset({"QUEUED", "PENDING", "RUNNING", "PAUSED", "UPDATING"})
DONE = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED"})


class BatchJobs:
    """The jobs of a project and region."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def start(self, job: Any, *, deadline: Deadline) -> Any:
        """Start a job; a request whose answer was lost is looked for before it counts as failed.

        Raises:
            AccessDenied, InvalidInput, NotFound, QuotaExceeded: the service refuses it; nothing was started.
            ServiceUnreachable, RemoteError: there was no answer, and no such job is there.
        """
        attempt = uuid.uuid4().hex
        job.labels[_ATTEMPT_LABEL] = attempt
        try:
            with self._api.translated():
                return self._client.create_batch_prediction_job(
                    parent=self._api.parent, batch_prediction_job=job, timeout=_seconds(deadline)
                )
        except (ServiceUnreachable, RemoteError) as error:
            if not _is_passing(error):
                raise
            started = self._list(f"labels.{_ATTEMPT_LABEL}={attempt}", deadline)
            if not started:
                raise
            return started[0]

    def find(self, request_id: str, *, deadline: Deadline) -> Any:
        """The newest job of a request that runs or has predictions; None if there is none."""
        found = self._list(f"labels.{REQUEST_LABEL}={request_id}", deadline)
        alive = [job for job in found if state_of(job) in RUNNING | DONE]
        return max(alive, key=lambda job: job.create_time, default=None)

    def read(self, name: str, *, deadline: Deadline) -> Any:
        """How a job stands; None when the service stumbles: the job goes on meanwhile."""
        try:
            with self._api.translated(f"job {name}"):
                return self._client.get_batch_prediction_job(name=name, timeout=_seconds(deadline))
        except (ServiceUnreachable, RemoteError) as error:
            if _is_passing(error):
                return None
            raise

    def cancel(self, name: str, *, deadline: Deadline) -> None:
        """Ask for the end of a job; it comes later."""
        with self._api.translated(f"job {name}"):
            self._client.cancel_batch_prediction_job(name=name, timeout=_seconds(deadline))

    def model(self, name: str, *, deadline: Deadline) -> Any:
        """A model of the registry.

        Raises:
            NotFound: there is none of this name, or version.
        """
        from google.cloud.aiplatform_v1 import ModelServiceClient

        with self._api.translated(f"model {name}"):
            return self._api.service(ModelServiceClient).get_model(name=name, timeout=_seconds(deadline))

    def url(self, name: str) -> str:
        """The page of a job in Google's console."""
        api, number = self._api, name.rpartition("/")[2]
        return f"{_CONSOLE}/locations/{api.region}/batch-predictions/{number}?project={api.project}"

    def _list(self, filter: str, deadline: Deadline) -> list[Any]:
        from google.cloud.aiplatform_v1 import ListBatchPredictionJobsRequest

        request = ListBatchPredictionJobsRequest(parent=self._api.parent, filter=filter)
        with self._api.translated():
            return list(self._client.list_batch_prediction_jobs(request=request, timeout=_seconds(deadline)))

    @property
    def _client(self) -> Any:
        from google.cloud.aiplatform_v1 import JobServiceClient

        return self._api.service(JobServiceClient)


def state_of(job: Any) -> str:
    """``SUCCEEDED`` and the like: the API's name without what all of them begin with."""
    return str(job.state.name).removeprefix("JOB_STATE_")


def _is_passing(error: Exception) -> bool:
    """Whether asking again may help."""
    return isinstance(error, ServiceUnreachable | QuotaExceeded) or getattr(error, "status", 0) >= 500


def _seconds(deadline: Deadline) -> float:
    return min(_REQUEST_SECONDS, seconds(deadline))
