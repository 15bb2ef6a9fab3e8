"""Which path is for what."""

import re
from typing import NamedTuple

_HEALTH = {
    "/livez": "live",
    "/v2/health/live": "live",
    "/healthz": "ready",
    "/readyz": "ready",
    "/v2/health/ready": "ready",
}
_PLAIN = {
    **{path: {"GET": verb} for path, verb in _HEALTH.items()},
    "/": {"GET": "embedded"},
    "/metrics": {"GET": "metrics"},
    "/openapi.json": {"GET": "openapi"},
    "/v1/batches": {"GET": "list", "POST": "create"},
}
_RUN = re.compile(r"/v1/batches/([^/:]+)(/events|:cancel)?")
_OF_RUN = {"": {"GET": "get", "DELETE": "cancel"}, "/events": {"GET": "events"}, ":cancel": {"POST": "cancel"}}


class Route(NamedTuple):
    """What a request is for."""

    verb: str
    """Empty: there is no such path, or ``allowed`` says which methods it has."""
    id: str = ""
    """Of a run."""
    allowed: tuple[str, ...] = ()


def find_route(method: str, path: str) -> Route:
    """What a method and a path, with its query, are for."""
    plain = path.partition("?")[0]
    id = ""
    methods = _PLAIN.get(plain)
    if methods is None and (found := _RUN.fullmatch(plain)):
        id, methods = found[1], _OF_RUN[found[2] or ""]
    if methods is None:
        return Route("")
    # Probes may ask for the head alone; embedded-tf's door is for GET.
    asked = "GET" if method == "HEAD" and plain != "/" and "events" not in plain else method
    return Route(methods[asked], id) if asked in methods else Route("", id, tuple(methods))
