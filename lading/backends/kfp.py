"""Kubeflow Pipelines, through its own client: what authenticates ``kfp run list`` authenticates this.

API: kubeflow/pipelines, ``backend/api/v2beta1``.
"""

import contextlib
import datetime
import io
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lading.backends.base import RemoteRun, RunView, Schedule, StepView, Submission
from lading.backends.kfp_errors import translated
from lading.errors import InvalidInput
from lading.spec.cron import split_cron
from lading.wait import Deadline

TOKEN_VARIABLE = "LADING_KFP_TOKEN"
"""Sent as a bearer token, where none of the client's own ways of authentication fits."""

DEFAULT_EXPERIMENT = "lading"

_STATES = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "cancelling",
    "CANCELED": "cancelled",
    "PAUSED": "paused",
}


class KfpBackend:
    """Kubeflow Pipelines 2 at one address."""

    capabilities = frozenset({"service_account", "pipeline_root", "experiment", "platform"})

    def __init__(self, client: Any, host: str, namespace: str) -> None:
        self._client, self._host, self._namespace = client, host, namespace
        self._names: dict[str, frozenset[str]] = {}

    @classmethod
    def connect(cls, host: str, *, environ: Mapping[str, str], namespace: str = "") -> "KfpBackend":
        """Make a client; it asks once whether the server is there.

        Args:
            host: Address of the server, with or without ``https://``.
            environ: ``LADING_KFP_TOKEN``; the client itself reads ``KF_PIPELINES_*`` and ``~/.config/kfp``.
            namespace: Of a multi-user Kubeflow.
        """
        host = host if "://" in host else f"https://{host}"
        with translated(host), _quiet():
            client = _client_class()(
                host=host, namespace=namespace or "kubeflow", existing_token=environ.get(TOKEN_VARIABLE)
            )
        return cls(client, host.rstrip("/"), namespace)

    def submit(self, submission: Submission, *, deadline: Deadline) -> RemoteRun:
        """Start a run, in an experiment that is made when it is missing."""
        with translated(self._host), _quiet(), _file(submission) as package:
            experiment = self._client.create_experiment(
                submission.experiment or DEFAULT_EXPERIMENT, namespace=self._namespace or None
            )
            run = self._client.run_pipeline(
                experiment_id=experiment.experiment_id,
                job_name=submission.name,
                pipeline_package_path=str(package),
                params=submission.parameters,
                pipeline_root=submission.pipeline_root or None,
                service_account=submission.service_account or None,
            )
        return RemoteRun(run.run_id, self.url(run.run_id))

    def url(self, run_id: str) -> str:
        """The page of a run."""
        return f"{self._host}/#/runs/details/{run_id}"

    def read(self, run_id: str, *, deadline: Deadline) -> RunView:
        """How a run stands."""
        with translated(self._host, f"run {run_id}"):
            run = self._client.read_run(run_id, deadline.remaining())
        if run_id not in self._names:
            self._names[run_id] = _step_names(run.pipeline_spec)
        details = (run.run_details.task_details if run.run_details else None) or []
        problem = (run.error.message or "") if run.error else ""
        return RunView(_STATES.get(run.state, "running"), tuple(_steps(details, self._names[run_id])), problem)

    def logs(self, run_id: str, step: StepView, *, lines: int, deadline: Deadline) -> list[str]:
        """The last lines of a step's pod, which KFP's user interface serves beside the API; empty where it does not."""
        with translated(self._host, f"the log of {step.name}"):
            text = self._client.pod_log(step.log_key, run_id, self._namespace or "kubeflow", deadline.remaining())
        return text.splitlines()[-lines:] if text is not None else []

    def cancel(self, run_id: str, *, deadline: Deadline) -> None:
        """Terminate a run."""
        with translated(self._host, f"run {run_id}"):
            self._client.terminate_run(run_id)

    def create_schedule(self, submission: Submission, *, cron: str, max_parallel: int, deadline: Deadline) -> Schedule:
        """Make a recurring run."""
        six_fields = to_robfig(cron)
        with translated(self._host), _quiet(), _file(submission) as package:
            experiment = self._client.create_experiment(
                submission.experiment or DEFAULT_EXPERIMENT, namespace=self._namespace or None
            )
            made = self._client.create_recurring_run(
                experiment_id=experiment.experiment_id,
                job_name=submission.name,
                cron_expression=six_fields,
                max_concurrency=max_parallel,
                no_catchup=True,  # after a pause, the newest data count, not every run that was missed
                params=submission.parameters,
                pipeline_package_path=str(package),
                pipeline_root=submission.pipeline_root or None,
                service_account=submission.service_account or None,
            )
        return self._schedule(made)

    def schedules(self, *, deadline: Deadline) -> list[Schedule]:
        """Every recurring run that has a cron expression."""
        found: list[Schedule] = []
        token = ""
        while True:
            with translated(self._host):
                page = self._client.list_recurring_runs(
                    page_token=token, page_size=100, namespace=self._namespace or None
                )
            found += [self._schedule(run) for run in page.recurring_runs or [] if _cron(run)]
            token = page.next_page_token
            if not token:
                return found

    def set_schedule(self, schedule_id: str, *, active: bool, deadline: Deadline) -> None:
        """Enable or disable a recurring run."""
        with translated(self._host, f"schedule {schedule_id}"):
            if active:
                self._client.enable_recurring_run(schedule_id)
            else:
                self._client.disable_recurring_run(schedule_id)

    def delete_schedule(self, schedule_id: str, *, deadline: Deadline) -> None:
        """Delete a recurring run."""
        with translated(self._host, f"schedule {schedule_id}"):
            self._client.delete_recurring_run(schedule_id)

    def _schedule(self, run: Any) -> Schedule:
        return Schedule(
            id=run.recurring_run_id,
            name=run.display_name,
            cron=_cron(run),
            active=(run.status or run.mode) in ("ENABLED", "ENABLE"),
            url=f"{self._host}/#/recurringrun/details/{run.recurring_run_id}",
        )


def to_robfig(cron: str) -> str:
    """Five fields of crontab(5) as the six of robfig/cron v1, which KFP uses: seconds first, Sunday is 0.

    Raises:
        InvalidInput: there is a time zone: KFP has one for all schedules (``CRON_SCHEDULE_TIMEZONE``, else UTC).
    """
    zone, fields = split_cron(cron)
    if zone:
        raise InvalidInput(
            f"cron {cron!r}: Kubeflow Pipelines takes no time zone for one schedule: its server has one for all "
            "(CRON_SCHEDULE_TIMEZONE, else UTC); leave TZ= out"
        )
    days = []
    for part in fields[-1].split(","):
        if part == "7":
            days.append("0")
        elif part.endswith("-7"):
            days += [part[:-1] + "6", "0"]
        else:
            days.append(part)
    return " ".join(["0", *fields[:-1], ",".join(days)])


def _client_class() -> type[Any]:
    """KFP's client, with limits on its patience. The import costs a second."""
    import kfp
    import kfp_server_api

    class Client(kfp.Client):  # type: ignore[misc]
        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            # The parent's tries five times with pauses, and logs a traceback for each.
            return self._healthz_api.healthz_service_get_healthz(_request_timeout=10)

        def read_run(self, run_id: str, seconds: float) -> Any:
            return self._run_api.run_service_get_run(run_id=run_id, _request_timeout=max(0.1, seconds))

        def pod_log(self, pod: str, run_id: str, namespace: str, seconds: float) -> str | None:
            try:
                answer = self._run_api.api_client.call_api(
                    "/k8s/pod/logs",
                    "GET",
                    query_params=[("podname", pod), ("runid", run_id), ("podnamespace", namespace)],
                    auth_settings=["Bearer"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=max(0.1, seconds),
                )
            except kfp_server_api.ApiException as error:
                if error.status == 404:  # an address without the user interface
                    return None
                raise
            text: str = answer.data.decode("utf-8", "replace")
            return None if text.lstrip().startswith("<!doctype html") else text

    return Client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The client prints links to standard output and warns of what it is."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def _file(submission: Submission) -> Iterator[Path]:
    """The pipeline as the client takes it: YAML, one document or two."""
    import yaml

    documents = [submission.spec, *([submission.platform] if submission.platform else [])]
    with tempfile.TemporaryDirectory(prefix="lading-") as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(yaml.safe_dump_all(documents, sort_keys=True))
        yield path


def _step_names(spec: Any) -> frozenset[str]:
    from lading.spec.ir import Pipeline

    body = (spec or {}).get("pipeline_spec") or spec or {}
    return frozenset(step.name for step in Pipeline(body, {}, "run").steps()) if "root" in body else frozenset()


def _steps(details: Sequence[Any], names: frozenset[str]) -> Iterator[StepView]:
    """The tasks of the pipeline among the nodes of its Argo workflow: drivers and groups are left out."""
    by_id = {detail.task_id: detail for detail in details}
    for detail in details:
        if detail.display_name in names:
            ended = _seconds(detail.end_time)
            status = _STATES.get(detail.state, "running")
            problem = (detail.error.message or "") if detail.error else ""
            yield StepView(
                detail.display_name, status, _seconds(detail.start_time), ended, problem, _pod(detail, by_id)
            )


def _pod(detail: Any, by_id: Mapping[str, Any]) -> str:
    """The pod that ran a task: its own, or that of the ``executor`` node below it."""
    pods = []
    for child in detail.child_tasks or []:
        below = by_id.get(child.task_id)
        if below is None or below.display_name == "executor":
            pods.append(child.pod_name or (below.pod_name if below else ""))
    return next((pod for pod in pods if pod), "") or detail.pod_name or ""


def _seconds(time: datetime.datetime | None) -> float | None:
    """Seconds since the epoch; Go's zero time means not yet."""
    return time.timestamp() if time and time.year > 1970 else None


def _cron(run: Any) -> str:
    """A recurring run's cron expression without its seconds; empty for one by interval."""
    schedule = run.trigger.cron_schedule if run.trigger else None
    fields = (schedule.cron or "").split() if schedule else []
    return " ".join(fields[1:] if len(fields) == 6 else fields)
