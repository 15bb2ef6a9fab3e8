"""Which request is for what: a method and a path in, a route out. No sockets.

Below ``/v1/`` the rules are TensorFlow Serving's (model_servers/http_rest_api_{util,handler}.cc): names and labels are
anything without ``/`` and ``:``, percent-decoded afterwards; patterns ignore case, verbs do not; what has no meaning is
answered 400. Below ``/v2`` they are the Open Inference Protocol's. Vertex AI's routes may lie below ``/v1/`` and come
first.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

_MODEL = r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.IGNORECASE | re.ASCII)
_STATUS = re.compile(_MODEL + r"(?P<verb>/metadata)?", re.IGNORECASE | re.ASCII)
_V2_MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>\d+))?(?P<verb>/ready|/infer)?", re.ASCII)
_VERTEX = re.compile(r"/v1/endpoints/[^/:]+/deployedModels/[^/:]+(?P<verb>:predict)?")
_FIXED = {
    "/": "alive",
    "/healthz": "ready",
    "/readyz": "ready",
    "/livez": "live",
    "/v1/models": "list",
    "/v2": "server",
    "/v2/": "server",
    "/v2/health/live": "live",
    "/v2/health/ready": "ready",
    "/v2/models": "list",
    "/metrics": "metrics",
    "/openapi.json": "openapi",
}
"""Paths that end in z are for people and other tools: on Cloud Run some never reach the container."""


@dataclass(frozen=True)
class Route:
    """What a request is for."""

    verb: str
    """``predict``, ``classify``, ``regress``, ``infer``, ``vertex``: with a body and a model to run; ``status``,
    ``metadata``, ``model``, ``model_ready`` about one; ``list``, ``server``, ``alive``, ``live``, ``ready``,
    ``metrics``, ``openapi``, ``options``; ``malformed``, ``version_too_large``, ``not_found``, ``not_allowed``."""
    model: str = ""
    version: int | None = None
    label: str | None = None
    counted: bool = False
    """Whether TensorFlow Serving would count it: everything below ``/v1/``."""

    runs_model: bool = field(init=False, compare=False)
    """Whether the answer needs a model to compute, and the request has a body."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs_model", self.verb in _RUNNING)


_RUNNING = frozenset({"predict", "classify", "regress", "infer", "vertex"})

LONG_PATH = 256
"""From here on a path is taken for one that nobody asks for twice."""
_MOST_VERSION = 2**63 - 1  # an int64

Find = Callable[[str, str], Route]


def make_finder(*, health_route: str = "", predict_route: str = "", metrics_path: str = "") -> Find:
    """A function from method and path (with the query, if there is one) to the route; it remembers those asked last.

    Args:
        health_route: Vertex AI's path for health, or empty.
        predict_route: Vertex AI's path for predictions, or empty.
        metrics_path: TensorFlow Serving's path for metrics, or empty for no metrics at all.
    """
    fixed = dict(_FIXED)
    if metrics_path:
        fixed[metrics_path] = "metrics"
    else:
        del fixed["/metrics"]

    def find(method: str, path: str) -> Route:
        if method == "HEAD":
            method = "GET" if not path.lower().startswith("/v1/") else method
        if method == "POST" and path == predict_route:
            return Route("vertex")
        if method == "GET" and path == health_route:
            return Route("ready")
        verb = fixed.get(path)
        if verb is not None:
            return Route(verb) if method == "GET" else _refused(method, path)
        if path.lower().startswith("/v1/"):
            return _find_v1(method, path)
        if path.startswith("/v2/"):
            return _find_v2(method, path)
        return Route("not_found")

    remembered = functools.lru_cache(1024)(find)
    # Long ones are not remembered: a stranger could fill the memory with them.
    return lambda method, path: remembered(method, path) if len(path) <= LONG_PATH else find(method, path)


def _find_v1(method: str, path: str) -> Route:
    vertex = _VERTEX.fullmatch(path)
    if vertex is not None and method == ("POST" if vertex["verb"] else "GET"):
        return Route("vertex" if vertex["verb"] else "ready")
    if path == "/v1/models/" and method == "GET":
        return _refused(method, path)
    pattern = {"POST": _PREDICT, "GET": _STATUS}.get(method)
    matched = pattern.fullmatch(path) if pattern else None
    if matched is None:
        return _refused(method, path)
    verb = matched["verb"] or "status"
    if verb not in ("predict", "classify", "regress", "status") and verb.lower() != "/metadata":
        return _refused(method, path)  # the pattern ignores case, the verb does not
    version = _version(matched["version"])
    if version is not None and version > _MOST_VERSION:
        return Route("version_too_large", counted=True)
    label = None if matched["label"] is None else unquote(matched["label"])
    return Route(verb.lower().lstrip("/"), unquote(matched["model"]), version, label, counted=True)


def _find_v2(method: str, path: str) -> Route:
    matched = _V2_MODEL.fullmatch(path)
    if matched is None:
        return Route("not_found")
    verb = {None: "model", "/ready": "model_ready", "/infer": "infer"}[matched["verb"]]
    if method != ("POST" if verb == "infer" else "GET"):
        return _refused(method, path)
    return Route(verb, unquote(matched["model"]), _version(matched["version"]))


def _version(digits: str | None) -> int | None:
    """The number that the digits are; one that no version has for more digits than Python reads."""
    if digits is None:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(_MOST_VERSION)) else _MOST_VERSION + 1


def _refused(method: str, path: str) -> Route:
    if path.lower().startswith("/v1/"):
        return Route("options" if method == "OPTIONS" else "malformed", counted=True)
    return Route("not_allowed")
