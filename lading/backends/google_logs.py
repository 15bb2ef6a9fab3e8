"""Cloud Logging: what a step of Vertex AI Pipelines wrote.

A step runs as a custom job, and its output are log entries of the resource ``ml_job`` with that job's number.
API: https://docs.cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

import datetime
from collections.abc import Mapping
from typing import Any

from lading.backends.base import StepView
from lading.errors import AccessDenied
from lading.http import Client
from lading.wait import Deadline

_CLOCKS_DIFFER_SECONDS = 60.0


def last_lines(client: Client, project: str, step: StepView, *, lines: int, deadline: Deadline) -> list[str]:
    """The last lines of a step, the oldest first. One request.

    Args:
        client: Of the logging API, with credentials.
        project: Google Cloud project.
        step: Its ``log_key`` is the name of its custom job: ``projects/P/locations/L/customJobs/NUMBER``.
        lines: At most so many.
        deadline: For the answer.

    Raises:
        AccessDenied: who asks may not read the logs.
        LadingError: as ``lading.http.Client.request``.
    """
    wanted = ['resource.type="ml_job"', f'resource.labels.job_id="{step.log_key.rpartition("/")[2]}"']
    if step.started:  # else every log that the project keeps is searched
        since = datetime.datetime.fromtimestamp(step.started - _CLOCKS_DIFFER_SECONDS, datetime.UTC)
        wanted.append(f'timestamp>="{since.isoformat(timespec="seconds")}"')
    body = {
        "resourceNames": [f"projects/{project}"],
        "filter": " AND ".join(wanted),
        "orderBy": "timestamp desc",
        "pageSize": 2 * lines,  # a blank line is an entry too
    }
    try:
        answer = client.request("POST", "/v2/entries:list", json=body, deadline=deadline).json()
    except AccessDenied as error:
        raise AccessDenied(f"{error}. Reading logs needs roles/logging.viewer", status=error.status) from error
    texts = [_text(entry) for entry in reversed(answer.get("entries", []))]
    return "\n".join(texts).rstrip().splitlines()[-lines:]


def _text(entry: Mapping[str, Any]) -> str:
    payload = entry.get("jsonPayload", {})
    return str(entry.get("textPayload", payload.get("message", payload)))
