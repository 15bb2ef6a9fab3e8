"""A pipeline job of Vertex AI as a ``RunView``.

API: ``google.cloud.aiplatform.v1``, ``PipelineJob.job_detail``.
"""

from collections.abc import Iterator
from typing import Any

from lading.backends.base import RunView, StepView
from lading.spec.ir import Pipeline

_RUN_STATES = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "CANCELLING": "cancelling",
    "PAUSED": "paused",
    "QUEUED": "pending",
    "PENDING": "pending",
}
_STEP_STATES = {
    "PENDING": "pending",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "SKIPPED": "succeeded",  # Vertex's word for a step whose result came from the cache
    "NOT_TRIGGERED": "skipped",
}


def step_names(job: Any) -> frozenset[str]:
    """The names of the tasks that run something, as the specification in a job has them."""
    from google.protobuf import json_format

    spec = json_format.MessageToDict(type(job).pb(job).pipeline_spec)
    return frozenset(step.name for step in Pipeline(spec, {}, "run").steps()) if "root" in spec else frozenset()


def view_of(job: Any, names: frozenset[str]) -> RunView:
    """How a job stands.

    Args:
        job: A ``PipelineJob`` message.
        names: What ``step_names`` says of it.
    """
    state = job.state.name.removeprefix("PIPELINE_STATE_")
    return RunView(_RUN_STATES.get(state, "running"), tuple(_steps(job, names)), job.error.message)


def _steps(job: Any, names: frozenset[str]) -> Iterator[StepView]:
    """The tasks that run something. Groups are tasks too, and so is the whole pipeline, under the name of the run."""
    for task in job.job_detail.task_details:
        detail = task.executor_detail
        main = detail.container_detail.main_job or detail.custom_job_detail.job
        if main or task.task_name in names:  # a step that waits, or comes from the cache, has no job
            yield StepView(
                task.task_name,
                _STEP_STATES.get(task.state.name, "running"),
                task.start_time.timestamp() if task.start_time else None,
                task.end_time.timestamp() if task.end_time else None,
                task.error.message,
                main,
            )
