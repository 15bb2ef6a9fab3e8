"""What the status of a service and of a revision says.

Source: Knative Serving API specification v1, "Error Signalling" and the conditions of each kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lading.local.objects import Object, condition, with_times
from lading.local.runner import State
from lading.local.traffic import Line, status_of, url_of


@dataclass(frozen=True)
class Outcome:
    """How far a service is."""

    latest: str
    """The newest revision."""
    settled: bool
    """Whether the split that was asked for is in force."""
    failed: tuple[str, ...]
    """Revisions that keep it from being so."""
    ended: Mapping[str, str]
    """For these, and for those in force that crash, what they died of."""


def revision_status(revision: Object, state: State, message: str, log: Path) -> Object:
    """The status of a revision.

    Args:
        revision: As it was read.
        state: Where its process stands.
        message: What it died of; else empty.
        log: What the process says.
    """
    healthy, reason = _health(state)
    conditions = [
        condition("Ready", healthy, reason, message),
        condition("ContainerHealthy", healthy, reason, message),
        condition("ResourcesAvailable", True if healthy else None),
        condition("Active", healthy is True, "" if healthy else "NotRunning"),
    ]
    before = revision.get("status", {}).get("conditions", [])
    return {"observedGeneration": 1, "conditions": with_times(conditions, before), "logUrl": log.as_uri()}


def service_status(
    service: Object, outcome: Outcome, lines: tuple[Line, ...], ports: Mapping[str, int] | None
) -> Object:
    """The status of a service.

    Args:
        service: As it was read.
        outcome: How far it is.
        lines: The split in force.
        ports: Its port under the empty name, and that of each tag; None while there is none.
    """
    old, failed, settled = service.get("status", {}), outcome.failed, outcome.settled
    message = "; ".join(f'Revision "{name}" failed: {why}' for name, why in outcome.ended.items())
    changed = False if failed else True if settled else None
    reason = "RevisionFailed" if outcome.ended else "" if settled else "Deploying"
    conditions = [
        condition("Ready", False if outcome.ended else changed, reason, message),
        condition("ConfigurationsReady", changed, reason if changed is not True else "", message if failed else ""),
        condition("RoutesReady", True if settled else None),
    ]
    status: Object = {
        "observedGeneration": service["metadata"]["generation"],
        "conditions": with_times(conditions, old.get("conditions", [])),
        "latestCreatedRevisionName": outcome.latest,
    }
    if settled:
        status["latestReadyRevisionName"] = outcome.latest
    elif old.get("latestReadyRevisionName"):
        status["latestReadyRevisionName"] = old["latestReadyRevisionName"]
    if ports:
        url = url_of(ports[""])
        status |= {"url": url, "address": {"url": url}, "traffic": status_of(lines, ports)}
    return status


def _health(state: State) -> tuple[bool | None, str]:
    if state is State.READY:
        return True, ""
    if state in (State.FAILED, State.FAILING):
        return False, "ContainerFailed" if state is State.FAILED else "CrashLoop"
    return (None, "Stopped") if state is State.STOPPED else (None, "Deploying")
