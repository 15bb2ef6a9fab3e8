"""Structured logs: one JSON object a line on stderr, with the fields that Cloud Logging knows.

Sources: https://cloud.google.com/logging/docs/structured-logging (fields), https://www.w3.org/TR/trace-context/
(``traceparent``), https://cloud.google.com/trace/docs/trace-context (``X-Cloud-Trace-Context``).
"""

import json
import re
import select
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

ACCESS_LOGS = ("off", "errors", "all")
"""Which requests get a line of their own; ``errors``: those with a status of 500 or more, and the slow ones."""

TRACE = "logging.googleapis.com/trace"
SPAN = "logging.googleapis.com/spanId"
SAMPLED = "logging.googleapis.com/trace_sampled"

PATIENCE_SECONDS = 0.1
"""How long a line waits for a reader that does not read, before lines are dropped until it does."""
_LONGEST = 2000
"""Longer texts are cut: what a request brings must not fill the log."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CLOUD_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")

Headers = Callable[[str], str | None]
"""Gives the value of a header by its name in lower case, for instance the ``get`` of a mapping."""


class _Stderr:
    """Writes lines without being held up by who reads them.

    A write to a full pipe waits for its reader; on the event loop every request would wait, health included. So a line
    is written only when the pipe has room for it (POLLOUT: for PIPE_BUF bytes, which is more than a line has); when it
    has none for a while, lines are counted instead, until it has room again. Nothing is queued, so that nothing is
    lost when the process ends at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dropped = 0

    def write(self, entry: dict[str, object]) -> None:
        with self._lock:
            try:
                if not self._has_room():
                    self._dropped += 1
                    return
                if self._dropped:
                    entry["dropped_lines"] = self._dropped
                # One write, so that lines of other writers do not come in between.
                sys.stderr.write(json.dumps(entry) + "\n")
                sys.stderr.flush()
                self._dropped = 0
            except OSError:  # nobody reads any more (EPIPE), or the disk is full: no reason to fail a request
                self._dropped += 1

    def _has_room(self) -> bool:
        try:
            descriptor = sys.stderr.fileno()
        except (OSError, ValueError):  # no file of the system, for instance in a test
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        # With an error state poll returns at once too, and the write says what is wrong.
        return bool(poll.poll(0 if self._dropped else PATIENCE_SECONDS * 1000))


_STDERR = _Stderr()


def log(message: str, *, severity: str = "INFO", **fields: object) -> None:
    """Write one line. Never raises for a reader that is slow or gone.

    Args:
        message: What happened, in a word or two that stay the same from time to time.
        severity: ``INFO``, ``WARNING`` or ``ERROR``.
        fields: What distinguishes this event, as JSON values; long texts are cut.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    entry: dict[str, object] = {"time": now, "severity": severity, "message": message}
    for name, value in fields.items():
        entry[name] = f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
    _STDERR.write(entry)


def request_context(headers: Headers, *, project: str = "") -> dict[str, object]:
    """What ties a log line to a request: its id and its trace, as fields of ``log``.

    Args:
        headers: The request's.
        project: Google Cloud's project of the traces; without it the trace is named by its id alone.

    Returns:
        ``request_id`` (``X-Request-Id``, or a new one), and if ``traceparent`` or else ``X-Cloud-Trace-Context`` is
        valid, the fields by which Cloud Logging puts the line below its trace.
    """
    given = headers("x-request-id") or ""
    context: dict[str, object] = {"request_id": given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex}
    trace = _traceparent(headers("traceparent") or "") or _cloud_trace(headers("x-cloud-trace-context") or "")
    if trace:
        trace_id, span_id, sampled = trace
        context[TRACE] = f"projects/{project}/traces/{trace_id}" if project else trace_id
        if span_id:
            context[SPAN] = span_id
        context[SAMPLED] = sampled
    return context


def _traceparent(text: str) -> tuple[str, str, bool] | None:
    matched = _TRACEPARENT.fullmatch(text)
    if matched is None:
        return None
    version, trace, span, flags, more = matched.groups()
    # Section 3.2.2: version ff is forbidden, as are ids of zeros; only versions after 00 may have more fields.
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return trace, span, bool(int(flags, 16) & 1)


def _cloud_trace(text: str) -> tuple[str, str, bool] | None:
    matched = _CLOUD_TRACE.fullmatch(text)
    if matched is None or not int(matched[1], 16):
        return None
    span = int(matched[2] or 0)
    # The header has the span in decimal, the log in hexadecimal.
    return matched[1].lower(), f"{span:016x}" if 0 < span < 2**64 else "", matched[3] == "1"


class AccessLog:
    """Lines for requests that were answered. A line each would halve the throughput of a small model.

    Args:
        which: One of ``ACCESS_LOGS``.
        slow_seconds: From here on a request is slow; 0 for never.
    """

    def __init__(self, which: str, *, slow_seconds: float = 0.0) -> None:
        self._least_status = {"off": sys.maxsize, "errors": 500, "all": 0}[which]
        self._slow = slow_seconds if slow_seconds > 0 and which != "off" else sys.float_info.max

    def wants(self, status: int, seconds: float) -> bool:
        """Whether a request gets a line: cheap, to be asked for each."""
        return status >= self._least_status or seconds >= self._slow

    def write(
        self,
        context: Mapping[str, object],
        *,
        method: str,
        path: str,
        status: int,
        seconds: float,
        sizes: tuple[int, int] = (0, 0),
        error: str = "",
    ) -> None:
        """Write the line.

        Args:
            context: From ``request_context``.
            method: HTTP's; ``POST`` over gRPC.
            path: With its query string; over gRPC the full name of the method.
            status: HTTP's, also over gRPC.
            seconds: From the request's first byte to the answer.
            sizes: Bytes of the request's body and of the answer's.
            error: What the client was told, if it failed.
        """
        request: dict[str, object] = {
            "requestMethod": method[:32],
            "requestUrl": path[:_LONGEST],
            "status": status,
            # Strings: they are int64 in google.logging.type.HttpRequest.
            "requestSize": str(sizes[0]),
            "responseSize": str(sizes[1]),
            "latency": f"{seconds:.6f}s",
        }
        failed = {"error": error} if error else {}
        severity = "ERROR" if status >= 500 else "WARNING" if seconds >= self._slow else "INFO"
        log("request", severity=severity, httpRequest=request, **failed, **context)
