"""Operations that Vertex AI works on for a while.

API: ``google.longrunning``, and ``google.rpc.Status`` for how they fail.
"""

from typing import Any

from lading.errors import LadingError, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.vertex_api import VertexApi, denied, out_of_quota, seconds
from lading.wait import Deadline, poll

_PERMISSION_DENIED, _RESOURCE_EXHAUSTED = 7, 8  # google/rpc/code.proto
_LONGEST_PAUSE_SECONDS = 10.0


def wait(
    api: VertexApi,
    client: Any,
    operation: Any,
    *,
    what: str,
    deadline: Deadline,
    failure: type[LadingError] | None = None,
) -> None:
    """Wait until an operation has ended. The service goes on with it when nobody waits any more.

    Args:
        api: Where it runs.
        client: The client that started it.
        operation: As ``google.longrunning.Operation``.
        what: What is waited for: ``endpoint x to be deleted``.
        deadline: When to give up.
        failure: The error for an operation that fails for a reason of its own. Default: ``RemoteError``.

    Raises:
        AccessDenied: it may not do what it has to.
        QuotaExceeded: no machines are to be had.
        DeadlineExceeded: it takes longer.
    """

    def ended() -> Any:
        try:
            with api.translated(what):
                found = client.get_operation(request={"name": operation.name}, timeout=seconds(deadline))
        except (ServiceUnreachable, QuotaExceeded):
            return None  # the operation goes on: a minute without an answer must not end a deployment
        return found if found.done else None

    last = (
        operation
        if operation.done
        else poll(ended, deadline=deadline, what=what, first_seconds=0.05, most_seconds=_LONGEST_PAUSE_SECONDS)
    )
    if not last.HasField("error"):
        return
    words = f"{api.where}: waited for {what}: {last.error.message}"
    if last.error.code == _PERMISSION_DENIED:
        raise denied(words)
    if last.error.code == _RESOURCE_EXHAUSTED:
        raise out_of_quota(words)
    raise failure(words) if failure else RemoteError(words, status=500)


def wait_for_all(api: VertexApi, client: Any, resource: str, *, deadline: Deadline) -> None:
    """Wait for what others, or a step that was killed, started on a resource and what still goes on.

    How they end does not matter: whoever calls looks at the resource afterwards.
    """
    with api.translated(resource):
        found = client.list_operations(request={"name": resource}, timeout=seconds(deadline))
    for operation in found.operations:
        if not operation.done:
            try:
                wait(api, client, operation, what=f"what goes on at {resource}", deadline=deadline)
            except RemoteError:
                continue
