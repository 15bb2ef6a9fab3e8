"""What the KFP client raises, in lading's words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lading.errors import (
    AccessDenied,
    InvalidInput,
    LadingError,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)


@contextmanager
def translated(host: str, what: str = "") -> Iterator[None]:
    """Within the block the client's errors become those that ``lading.backends.base.Backend`` names.

    Args:
        host: Address of the server.
        what: What is asked for: ``run 4f2a``.
    """
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _by_status(error, host, what) from error
    except (urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
        raise ServiceUnreachable(
            f"Kubeflow Pipelines at {host} does not answer ({_root(error)}): is the address right, the port forwarded "
            "(kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80), the VPN up?"
        ) from error
    except ValueError as error:  # how the client reports what it refuses itself
        raise InvalidInput(f"Kubeflow Pipelines' client refuses this: {error}") from error


def _by_status(error: Any, host: str, what: str) -> LadingError:
    words = f"{host}: {error.status} {_message(error)}"
    if error.status == 401:
        return AccessDenied(
            f"{words}. The token is missing or has expired: log in as for `kfp run list`, or set LADING_KFP_TOKEN "
            "(for instance from `kubectl create token`)",
            status=401,
        )
    if error.status == 403:
        return AccessDenied(
            f"{words}. Who asks may not do this: in a multi-user Kubeflow name your own --namespace, and ask for the "
            "role kubeflow-edit in it",
            status=403,
        )
    if error.status == 404:
        return NotFound(f"{host} has no {what or 'such object'}: {_message(error)}")
    if error.status == 429:
        return QuotaExceeded(f"{words}. Too many requests: try again in a while", status=429)
    if error.status == 400:
        return InvalidInput(f"{words}. The server refuses what was sent; `lading lint` may say more")
    if not error.status:
        return ServiceUnreachable(f"{host} does not answer: {error.reason}")
    return RemoteError(words, status=error.status)


def _message(error: Any) -> str:
    """The server's own words."""
    try:
        body = json.loads(error.body)
    except (TypeError, ValueError):
        return str(error.reason or "").strip()
    text = body.get("error_message") or body.get("message") or body.get("error") if isinstance(body, dict) else ""
    return str(text or error.reason).strip()[:500]


def _root(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, Exception) else error)
    return text.rpartition(": ")[2] if "object at 0x" in text else text
