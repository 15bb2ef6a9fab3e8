"""The embedded target from the outside: start it, stop it, ask it what it serves."""

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from lading.errors import DeadlineExceeded, LadingError, ServiceUnreachable
from lading.files import write_atomic
from lading.http import Client
from lading.local import logs
from lading.local.engines import drop_images
from lading.local.locks import holder
from lading.local.objects import API_VERSION, REVISIONS, SERVICE_LABEL, SERVICES, Object, condition_of
from lading.local.process import adopt
from lading.local.server import spawn_detached
from lading.local.state import DEFAULT_NAMESPACE, Layout, read_endpoint
from lading.results import LocalEndpoint
from lading.wait import Deadline, poll

_TAKES_LOCK_SECONDS = 3.0  # a new supervisor has its lock by then, else it is taken for dead


def start(state: Path, *, deadline: Deadline) -> LocalEndpoint:
    """Start the target unless it runs, and return where it answers.

    Args:
        state: Its state directory; made if it does not exist.
        deadline: When to give up.

    Raises:
        LadingError: it does not start; the message has the end of its log.
        StorageError: the state directory cannot be written.
    """
    layout = Layout(state)
    layout.create()
    write_atomic(layout.wanted, "", mode=0o600)
    pause = Deadline.after(0)

    def bring_up() -> LocalEndpoint | None:
        # Looked at each time: a supervisor that was just killed may hold its lock for a moment longer.
        nonlocal pause
        if pause.passed and holder(layout.supervisor_lock) is None:
            spawn_detached(layout, "supervise")
            pause = Deadline.after(_TAKES_LOCK_SECONDS)
        return _answering(layout)

    try:
        return poll(bring_up, deadline=deadline, what="the local target to start")
    except DeadlineExceeded as error:
        tail = "\n  ".join(logs.tail(layout.server_log, lines=10))
        raise LadingError(f"the local target did not start; {layout.server_log} ends:\n  {tail}") from error


def stop(state: Path, *, deadline: Deadline, purge: bool = False) -> bool:
    """End the target and every process of its revisions. Its services stay, and serve again after the next start.

    Args:
        state: Its state directory.
        deadline: When to give up.
        purge: Remove the state too: services, images, logs.

    Returns:
        Whether it ran.

    Raises:
        DeadlineExceeded: it does not end.
    """
    layout = Layout(state)
    layout.wanted.unlink(missing_ok=True)
    ran = False
    for lock in (layout.supervisor_lock, layout.server_lock):
        ran = _end(lock, deadline) or ran
    # The processes of a server that was killed and that nobody brought back.
    for record in layout.processes.glob("*.json"):
        process = adopt(record)
        if process:
            process.end()
            ran = True
    if purge:
        drop_images(layout, frozenset())
        shutil.rmtree(state, ignore_errors=True)
    return ran


def status(state: Path, *, deadline: Deadline) -> list[dict[str, Any]]:
    """The services, each with ``name url ready revisions traffic``; empty when the target does not run.

    Raises:
        DeadlineExceeded: it does not answer.
    """
    endpoint = read_endpoint(Layout(state))
    if endpoint is None:
        return []
    client = _client(endpoint)
    try:
        services = _items(client, SERVICES, deadline)
        revisions = _items(client, REVISIONS, deadline)
    except ServiceUnreachable:
        return []
    return [_summary(service, revisions) for service in services]


def running(state: Path) -> LocalEndpoint | None:
    """Where the target answers, or None when it does not run."""
    return _answering(Layout(state))


def _answering(layout: Layout) -> LocalEndpoint | None:
    """The endpoint, if the server that holds the lock answers there."""
    endpoint = read_endpoint(layout)
    if endpoint is None or holder(layout.server_lock) != endpoint.pid:
        return None
    try:
        _items(_client(endpoint), SERVICES, Deadline.after(2), retry=False)
    except LadingError:
        return None
    return endpoint


def _client(endpoint: LocalEndpoint) -> Client:
    return Client(endpoint.url, headers={"Authorization": f"Bearer {endpoint.token}"})


def _items(client: Client, plural: str, deadline: Deadline, *, retry: bool = False) -> list[Object]:
    path = f"/apis/{API_VERSION}/namespaces/{DEFAULT_NAMESPACE}/{plural}"
    items: list[Object] = client.request("GET", path, deadline=deadline, retry=retry).json()["items"]
    return items


def _end(lock: Path, deadline: Deadline) -> bool:
    """Ask the holder of a lock to end, and wait until it has; whether there was one."""
    told: set[int] = set()

    def ended() -> bool | None:
        pid = holder(lock)
        if pid is None:
            return True
        if pid and pid not in told:  # the lock may pass to another process while we wait
            told.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return None

    if holder(lock) is None:
        return False
    return poll(ended, deadline=deadline, what=f"the holder of {lock.name} to end")


def _summary(service: Object, revisions: list[Object]) -> dict[str, Any]:
    metadata, state = service["metadata"], service.get("status", {})
    traffic = [
        {
            "revision": line["revisionName"],
            "percent": line.get("percent", 0),
            "tag": line.get("tag", ""),
            "url": line.get("url", ""),
        }
        for line in state.get("traffic", [])
    ]
    own = [r for r in revisions if r["metadata"]["labels"][SERVICE_LABEL] == metadata["name"]]
    return {
        "name": metadata["name"],
        "url": state.get("url", ""),
        "ready": condition_of(service)["status"] == "True",
        "message": condition_of(service).get("message", ""),
        "revisions": [
            {
                "name": revision["metadata"]["name"],
                "image": revision["spec"]["containers"][0]["image"],
                "running": condition_of(revision)["status"] == "True",
                "percent": sum(line["percent"] for line in traffic if line["revision"] == revision["metadata"]["name"]),
            }
            for revision in own
        ],
        "traffic": traffic,
    }
