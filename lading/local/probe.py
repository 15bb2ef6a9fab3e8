"""Whether a revision's process is ready: its HTTP path answers, or its port accepts connections."""

import http.client
import socket

from lading.local.objects import Object

_SECONDS = 2.0  # for one try


def probe_path(container: Object) -> str:
    """The HTTP path that tells readiness; empty when the port alone does (the default of the Knative API)."""
    for name in ("readinessProbe", "startupProbe"):
        path: str = ((container.get(name) or {}).get("httpGet") or {}).get("path") or ""
        if path:
            return path
    return ""


def ready(port: int, path: str) -> bool:
    """Ask once. An HTTP status from 200 to 399 means ready, as for a Kubernetes probe."""
    if not path:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=_SECONDS).close()
        except OSError:
            return False
        return True
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", path, headers={"User-Agent": "lading-probe", "Connection": "close"})
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
