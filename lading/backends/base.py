"""What a pipelines backend must do, and the values that cross that line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lading.errors import InvalidInput
from lading.wait import Deadline

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""The states in which a run stays."""


OPTIONS = ("labels", "network", "failure_policy", "service_account", "pipeline_root", "experiment", "platform")
"""The fields of a submission that a backend may not have."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A run to start, or to start again and again by a schedule."""

    name: str
    """Of this run, unique: ``release-20261121-093015-4f2a``. Lower-case letters, digits and dashes, at most 128."""
    spec: dict[str, Any]
    """The ``PipelineSpec``, step images resolved."""
    platform: dict[str, Any] = field(default_factory=dict)
    """The ``PlatformSpec``, for Kubernetes settings; empty when there is none."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """By name, each of its declared type."""
    pipeline_root: str = ""
    """URI below which artifacts go; empty: the backend's own default."""
    experiment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    network: str = ""
    """Full name of a VPC network that the steps are peered with."""
    failure_policy: str = ""
    """``fast`` starts nothing after a failure, ``slow`` lets go on what does not depend on it. Empty: the default."""

    def check_against(self, capabilities: frozenset[str], backend: str) -> None:
        """Refuse what the backend would silently leave out.

        Raises:
            InvalidInput: names every option that the backend does not obey.
        """
        if ignored := [name for name in OPTIONS if getattr(self, name) and name not in capabilities]:
            words = ", ".join(name.replace("_", " ") for name in ignored)
            raise InvalidInput(f"{backend} has no {words}: leave it out")


@dataclass(frozen=True)
class RemoteRun:
    """A run that a backend took."""

    id: str
    """What ``Backend.read`` and the rest take."""
    url: str
    """Its page in the backend's user interface."""


@dataclass(frozen=True)
class StepView:
    """One step of a run as the backend reports it."""

    name: str
    """The task's name in the pipeline."""
    status: str
    """``pending``, ``running``, ``succeeded``, ``failed``, ``skipped`` or ``cancelled``."""
    started: float | None = None
    """Seconds since the epoch."""
    ended: float | None = None
    problem: str = ""
    """What the backend says about a failure."""
    log_key: str = ""
    """Where the backend finds the step's log; empty when there is none yet."""


@dataclass(frozen=True)
class RunView:
    """A run as the backend reports it."""

    state: str
    """``pending``, ``running``, ``paused``, ``cancelling``, or one of ``ENDED``."""
    steps: tuple[StepView, ...] = ()
    """Only tasks that run something, in no particular order; those that did not come up yet may be missing."""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pipeline that a backend starts by the clock."""

    id: str
    name: str
    cron: str
    """Five fields, as in crontab(5), optionally after ``TZ=Europe/Vienna``."""
    active: bool
    next_run: str = ""
    """ISO 8601, empty when the backend does not say."""
    url: str = ""


class Backend(Protocol):
    """A service that runs pipelines.

    Every method raises the same errors:

    * ``ServiceUnreachable``: nothing answered, or not in time (``DeadlineExceeded``); trying again may help.
    * ``AccessDenied``: who asks is not known (401, an expired token) or may not (403).
    * ``QuotaExceeded``: a limit is reached (429, RESOURCE_EXHAUSTED).
    * ``NotFound``: the run, schedule, bucket, project or region does not exist.
    * ``InvalidInput``: the backend refuses what was sent (400, INVALID_ARGUMENT), in its own words.
    * ``RemoteError``: any other answer.
    """

    capabilities: frozenset[str]
    """Of ``OPTIONS``: what it obeys."""

    def submit(self, submission: Submission, *, deadline: Deadline) -> RemoteRun:
        """Start a run."""

    def read(self, run_id: str, *, deadline: Deadline) -> RunView:
        """How a run stands. One request."""

    def url(self, run_id: str) -> str:
        """The page of a run in the backend's user interface."""

    def logs(self, run_id: str, step: StepView, *, lines: int, deadline: Deadline) -> list[str]:
        """The last lines that a step wrote; empty when the backend keeps none. One request."""

    def cancel(self, run_id: str, *, deadline: Deadline) -> None:
        """Ask for the end of a run; it goes on to ``cancelled`` by itself."""

    def create_schedule(self, submission: Submission, *, cron: str, max_parallel: int, deadline: Deadline) -> Schedule:
        """Start the run by the clock; at most ``max_parallel`` at a time. ``submission.name`` names the schedule."""

    def schedules(self, *, deadline: Deadline) -> list[Schedule]:
        """Every schedule that the caller may see."""

    def set_schedule(self, schedule_id: str, *, active: bool, deadline: Deadline) -> None:
        """Pause a schedule, or let it go on."""

    def delete_schedule(self, schedule_id: str, *, deadline: Deadline) -> None:
        """Remove a schedule; runs that it started are left alone."""
