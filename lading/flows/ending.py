"""How a run ended: the one rule for runs on this machine and elsewhere, and what must be undone afterwards."""

from collections.abc import Callable, Mapping, Sequence

from lading.errors import LadingError, ServiceUnreachable
from lading.run_report import StepRecord
from lading.settle import settle_release
from lading.targets.base import Phase
from lading.targets.connect import connect
from lading.wait import Deadline

_SETTLE_SECONDS = 60.0


def outcome_of(steps: Sequence[StepRecord], *, succeeded: bool) -> str:
    """``promoted``, ``succeeded`` (a pipeline without ``promote``), ``rejected``, or ``failed``.

    A step ``reject`` that failed is a verdict: that is how a pipeline ends red for a rejected model.
    """
    if succeeded:
        return "promoted" if any(s.name == "promote" and s.status == "succeeded" for s in steps) else "succeeded"
    return "rejected" if any(s.name.startswith("reject") and s.status == "failed" for s in steps) else "failed"


def last_error(log: Sequence[str]) -> str:
    """The message of the exception that ended a step: the last line of its traceback, with what follows."""
    lines = [line.strip() for line in log if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        kind, colon, message = lines[index].partition(": ")
        if colon and kind.replace(".", "").replace("_", "").isalnum() and kind.rsplit(".", 1)[-1][:1].isupper():
            return " ".join([message, *lines[index + 1 :]]) if kind.startswith("lading.") else lines[index]
    return lines[-1] if lines else "it left no log"


def undo_open_release(
    parameters: Mapping[str, object], owns: Callable[[str], bool], *, environ: Mapping[str, str]
) -> tuple[str, str]:
    """Undo the release that a run left open: the pipeline's own exit handler may not have come that far.

    Args:
        parameters: Of the run; without ``service`` and ``target`` there is nothing to undo.
        owns: Whether a release id is one of this run.
        environ: Says where the local target's state lives.

    Returns:
        What was done, or why nothing could be, empty for nothing; and why it failed, empty when it did not.
    """
    service, target = str(parameters.get("service") or ""), str(parameters.get("target") or "")
    if not service or not target:
        return "", ""
    deadline = Deadline.after(_SETTLE_SECONDS)
    try:
        where = connect(target, environ=environ)
        known = where.get(service, deadline=deadline)
        if known and known.rollout and known.rollout.open and owns(known.rollout.id):
            return settle_release(service, target=where, release_id=known.rollout.id, deadline=deadline), ""
        if known and known.rollout and known.rollout.phase is Phase.PROMOTED and owns(known.rollout.id):
            return "the promotion had gone through before the end, so the new revision serves", ""
    except ServiceUnreachable:
        pass  # the target never ran, so there is nothing to undo
    except LadingError as error:
        again = f"`lading settle --service {service} --target {target}` does it again"
        return "", f"undoing the release failed: {error} ({again})"
    return "", ""
