"""gRPC's standard health service. No sockets.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from lading.errors import NotFound
from lading.predict.protos import message
from lading.serving import grpc_oip, grpc_tfs

SERVICE = "grpc.health.v1.Health"
CHECK, WATCH = f"/{SERVICE}/Check", f"/{SERVICE}/Watch"
REQUEST = "grpc.health.v1.HealthCheckRequest"

# TensorFlow Serving registers the two short names; "" is the server as a whole.
SERVICES = frozenset(
    {"", "ModelService", "PredictionService", grpc_tfs.PREDICTION, grpc_tfs.MODEL, grpc_oip.SERVICE, SERVICE}
)
_LOOK_SECONDS = 0.25


class Health:
    """Says whether the server serves.

    Args:
        is_ready: Whether every model answers.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._stopping = False

    def stop(self) -> None:
        """From now on the server does not serve; those who watch are told, and their calls end."""
        self._stopping = True

    def check(self, request: Any) -> Any:
        """Answer Check.

        Raises:
            NotFound: no such service.
        """
        if request.service not in SERVICES:
            raise NotFound(f"expected a service of {', '.join(sorted(SERVICES - {''}))}, received {request.service!r}")
        return self._response(request)

    def watch(self, request: Any, gone: threading.Event) -> Iterator[Any]:
        """Answer Watch: the state now, and at each change, until the server stops or the client is gone."""
        last = None
        while not gone.is_set():
            response = self._response(request)
            if response != last:
                yield response
            last = response
            if self._stopping:
                return
            gone.wait(_LOOK_SECONDS)

    def _response(self, request: Any) -> Any:
        if request.service not in SERVICES:
            status = "SERVICE_UNKNOWN"
        else:
            status = "SERVING" if self._is_ready() and not self._stopping else "NOT_SERVING"
        return message("grpc.health.v1.HealthCheckResponse")(status=status)
