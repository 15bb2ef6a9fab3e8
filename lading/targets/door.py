"""Where a revision, or a service by its split, is asked: the way in for smoke tests, rollouts and people."""

from collections.abc import Mapping
from typing import Any, Protocol

import requests

from lading.errors import RemoteError
from lading.http import Client
from lading.wait import Deadline

READY_PATH = "/v2/health/ready"
PROBE_AGENT = "lading-probe"
"""The ``User-Agent`` of lading's own requests, so that servers and routers can tell them from those of users."""
_HEADERS = {"User-Agent": PROBE_AGENT}


class Door(Protocol):
    """Asks one model. Credentials are the door's business."""

    @property
    def url(self) -> str:
        """Where it leads, for people."""

    def is_ready(self, *, deadline: Deadline) -> bool:
        """Whether what is behind it says that it can answer.

        Raises:
            ServiceUnreachable: nothing answers.
            AccessDenied: we may not ask.
        """

    def predict(self, body: Mapping[str, Any], *, deadline: Deadline) -> requests.Response:
        """The answer to a request in TensorFlow Serving's form (``inputs`` or ``instances``, ``signature_name``).

        Raises:
            RemoteError, NotFound: the answer is an error.
            ServiceUnreachable: nothing answers.
        """


class HttpDoor:
    """A server that is reached over HTTP as it is.

    Args:
        client: Its base URL is that of the server; carries the credentials.
        model: Name of the model on the server.
    """

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._path = f"/v1/models/{model}:predict"

    @property
    def url(self) -> str:
        """See ``Door.url``."""
        return self._client.base_url

    def is_ready(self, *, deadline: Deadline) -> bool:
        """See ``Door.is_ready``."""
        try:
            self._client.request("GET", READY_PATH, headers=_HEADERS, deadline=deadline, retry=False)
        except RemoteError as error:
            if error.status in (401, 403):
                raise
            return False
        return True

    def predict(self, body: Mapping[str, Any], *, deadline: Deadline) -> requests.Response:
        """See ``Door.predict``."""
        return self._client.request("POST", self._path, json=body, headers=_HEADERS, deadline=deadline)
