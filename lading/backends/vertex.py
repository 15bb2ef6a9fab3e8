"""Vertex AI Pipelines (the product is now called "Gemini Enterprise Agent Platform").

API: ``google.cloud.aiplatform.v1``, PipelineService and ScheduleService.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from lading import storage
from lading.backends.base import RemoteRun, RunView, Schedule, StepView, Submission
from lading.backends.google_logs import last_lines
from lading.backends.vertex_view import step_names, view_of
from lading.errors import AccessDenied, InvalidInput, LadingError, NotFound, StorageError
from lading.vertex_api import VertexApi
from lading.vertex_api import seconds as _seconds
from lading.wait import Deadline, poll

LOGGING_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING"
_LINT = "`lading lint --for vertex` may say more"
_CONSOLE = "https://console.cloud.google.com/vertex-ai"


class VertexBackend:
    """Vertex AI Pipelines in one project and region."""

    capabilities = frozenset({"labels", "network", "failure_policy", "service_account", "pipeline_root", "experiment"})

    def __init__(self, api: VertexApi, *, logging: str) -> None:
        self._api, self._logging = api, logging
        self._project, self._region = api.project, api.region
        self._where, self._parent = api.where, api.parent
        self._names: dict[str, frozenset[str]] = {}

    @classmethod
    def connect(cls, project: str, region: str, *, environ: Mapping[str, str]) -> "VertexBackend":
        """Find credentials; nothing is sent yet.

        Args:
            project: Google Cloud project.
            region: For instance ``europe-west4``.
            environ: As ``VertexApi.find``.
        """
        logging = environ.get(LOGGING_VARIABLE, "") or "https://logging.googleapis.com"
        return cls(VertexApi.find(project, region, environ=environ), logging=logging)

    def submit(self, submission: Submission, *, deadline: Deadline) -> RemoteRun:
        """Start a pipeline job, whose id is the submission's name.

        Raises:
            LadingError: besides what every method raises: the job was started but could not join its experiment.
        """
        job = self._job(submission)
        with self._api.translated(advice=_LINT):
            made = self._pipelines().create_pipeline_job(
                parent=self._parent, pipeline_job=job, pipeline_job_id=submission.name, timeout=_seconds(deadline)
            )
        if submission.experiment:
            try:
                with self._api.translated(f"experiment {submission.experiment}"):
                    self._join_experiment(made, submission.experiment, deadline)
            except LadingError as error:
                raise LadingError(
                    f"run {submission.name} was started and goes on, but it could not join the experiment "
                    f"{submission.experiment}: {error}. Follow it: lading follow {submission.name} --to {self._where}"
                ) from error
        return RemoteRun(submission.name, self.url(submission.name))

    def url(self, run_id: str) -> str:
        """The page of a job in Google's console."""
        return f"{_CONSOLE}/locations/{self._region}/pipelines/runs/{run_id}?project={self._project}"

    def read(self, run_id: str, *, deadline: Deadline) -> RunView:
        """How a job stands."""
        with self._api.translated(f"run {run_id}"):
            job = self._pipelines().get_pipeline_job(name=self._job_name(run_id), timeout=_seconds(deadline))
        if run_id not in self._names:
            self._names[run_id] = step_names(job)
        return view_of(job, self._names[run_id])

    def logs(self, run_id: str, step: StepView, *, lines: int, deadline: Deadline) -> list[str]:
        """The last lines of a step's custom job, from Cloud Logging."""
        with self._api.translated(f"the log of {step.name}"):
            return last_lines(self._api.http(self._logging), self._project, step, lines=lines, deadline=deadline)

    def cancel(self, run_id: str, *, deadline: Deadline) -> None:
        """Cancel a job."""
        with self._api.translated(f"run {run_id}"):
            self._pipelines().cancel_pipeline_job(name=self._job_name(run_id), timeout=_seconds(deadline))

    def create_schedule(self, submission: Submission, *, cron: str, max_parallel: int, deadline: Deadline) -> Schedule:
        """Make a schedule of the scheduler API; its runs get ids of Vertex's making."""
        from google.cloud.aiplatform_v1 import CreatePipelineJobRequest
        from google.cloud.aiplatform_v1 import Schedule as VertexSchedule

        if submission.experiment:
            raise InvalidInput("a Vertex schedule takes no experiment: leave --experiment out")
        request = CreatePipelineJobRequest(parent=self._parent, pipeline_job=self._job(submission))
        wanted = VertexSchedule(
            display_name=submission.name,
            cron=cron,
            max_concurrent_run_count=max_parallel,
            create_pipeline_job_request=request,
        )
        with self._api.translated(advice=_LINT):
            made = self._schedules().create_schedule(parent=self._parent, schedule=wanted, timeout=_seconds(deadline))
        return self._schedule(made)

    def schedules(self, *, deadline: Deadline) -> list[Schedule]:
        """Every schedule of the region that has not come to its end."""
        with self._api.translated(advice=_LINT):
            found = self._schedules().list_schedules(parent=self._parent, timeout=_seconds(deadline))
            return [self._schedule(one) for one in found if one.state.name in ("ACTIVE", "PAUSED")]

    def set_schedule(self, schedule_id: str, *, active: bool, deadline: Deadline) -> None:
        """Pause or resume a schedule."""
        client, name = self._schedules(), f"{self._parent}/schedules/{schedule_id}"
        with self._api.translated(f"schedule {schedule_id}"):
            (client.resume_schedule if active else client.pause_schedule)(name=name, timeout=_seconds(deadline))

    def delete_schedule(self, schedule_id: str, *, deadline: Deadline) -> None:
        """Delete a schedule."""
        name = f"{self._parent}/schedules/{schedule_id}"
        with self._api.translated(f"schedule {schedule_id}"):
            operation = self._schedules().delete_schedule(name=name, timeout=_seconds(deadline))
            operation.result(timeout=_seconds(deadline))

    def _job(self, submission: Submission) -> Any:
        """The job as the API takes it, or what is wrong with it: the service would take the job and fail later."""
        from google.cloud.aiplatform_v1 import PipelineFailurePolicy, PipelineJob
        from google.protobuf import json_format

        if submission.platform:
            raise InvalidInput(
                f"{self._where}: the pipeline has a second document with platform settings, which Vertex refuses: send "
                "it without, and keep settings for Kubernetes in an overlay (`lading compile --overlay kubernetes`)"
            )
        root = self._root(submission)
        with self._api.translated(advice=_LINT):
            runtime = PipelineJob.RuntimeConfig(gcs_output_directory=root)
            try:
                values = {"parameterValues": submission.parameters}
                json_format.ParseDict(values, PipelineJob.RuntimeConfig.pb(runtime))
            except json_format.ParseError as error:
                raise InvalidInput(f"{self._where}: a parameter has no form in JSON: {error}") from error
            if submission.failure_policy:
                policy = f"PIPELINE_FAILURE_POLICY_FAIL_{submission.failure_policy.upper()}"
                runtime.failure_policy = PipelineFailurePolicy[policy]
            return PipelineJob(
                display_name=submission.name,
                pipeline_spec=submission.spec,
                runtime_config=runtime,
                labels=dict(submission.labels),
                service_account=submission.service_account,
                network=submission.network,
            )

    def _root(self, submission: Submission) -> str:
        """Where artifacts go, in a bucket that is there."""
        # The SDK's own choice where nothing is given; it would make the bucket, and so hide a wrong project.
        root = submission.pipeline_root or f"gs://{self._project}-vertex-pipelines-{self._region}"
        try:
            if storage.is_remote(root):
                # A bucket that is denied is there, and it is the steps that must be allowed to write it, not who asks;
                # one that cannot be looked at (there is a token for Vertex alone) is left to the service.
                with contextlib.suppress(AccessDenied, StorageError):
                    storage.list_files(root, limit=1)
        except NotFound as error:
            if submission.pipeline_root:
                raise
            raise NotFound(
                f"{self._where}: no pipeline root is given (--pipeline-root gs://BUCKET/PREFIX), and the default one "
                f"is missing: {error}"
            ) from error
        return root

    def _join_experiment(self, job: Any, experiment: str, deadline: Deadline) -> None:
        """Make the job's context, which appears a moment after the job, a child of the experiment's."""
        from google.api_core.exceptions import AlreadyExists
        from google.cloud.aiplatform_v1 import Context, MetadataServiceClient

        def context_of_job() -> str | None:
            found = self._pipelines().get_pipeline_job(name=job.name, timeout=_seconds(deadline))
            return found.job_detail.pipeline_run_context.name or None

        # The first job of a project also makes the store, so the experiment comes second.
        child = poll(context_of_job, deadline=deadline, what="the job's metadata context", first_seconds=1.0)
        client = self._api.service(MetadataServiceClient)
        store = f"{self._parent}/metadataStores/default"
        # Source: google.cloud.aiplatform.metadata.constants, which the SDK's own experiments use.
        wanted = Context(
            display_name=experiment,
            schema_title="system.Experiment",
            schema_version="0.0.1",
            metadata={"experiment_deleted": False},
        )
        with contextlib.suppress(AlreadyExists):
            client.create_context(parent=store, context=wanted, context_id=experiment, timeout=_seconds(deadline))
        client.add_context_children(
            context=f"{store}/contexts/{experiment}", child_contexts=[child], timeout=_seconds(deadline)
        )

    def _job_name(self, run_id: str) -> str:
        return run_id if run_id.startswith("projects/") else f"{self._parent}/pipelineJobs/{run_id}"

    def _pipelines(self) -> Any:
        from google.cloud.aiplatform_v1 import PipelineServiceClient

        return self._api.service(PipelineServiceClient)

    def _schedules(self) -> Any:
        from google.cloud.aiplatform_v1 import ScheduleServiceClient

        return self._api.service(ScheduleServiceClient)

    def _schedule(self, schedule: Any) -> Schedule:
        id = schedule.name.rpartition("/")[2]
        return Schedule(
            id=id,
            name=schedule.display_name,
            cron=schedule.cron,
            active=schedule.state.name == "ACTIVE",
            next_run=schedule.next_run_time.isoformat(timespec="seconds") if schedule.next_run_time else "",
            url=f"{_CONSOLE}/locations/{self._region}/pipelines/schedules/{id}?project={self._project}",
        )
