"""Structured logs: one JSON object a line on stderr, with the fields that Cloud Logging knows."""

import json
import sys
from datetime import UTC, datetime


def log(message: str, *, severity: str = "INFO", **fields: object) -> None:
    """Write one line.

    Args:
        message: What happened, in a word or two that stay the same from time to time.
        severity: ``INFO``, ``WARNING`` or ``ERROR``.
        fields: What distinguishes this event, as JSON values.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # One write, so that lines of several threads do not mix.
    sys.stderr.write(json.dumps({"time": now, "severity": severity, "message": message, **fields}) + "\n")
    sys.stderr.flush()
