"""From the name of a backend to the backend."""

import importlib.util
import re
from collections.abc import Mapping

from lading.backends.base import Backend
from lading.errors import InvalidReference, LadingError

_VERTEX = re.compile(r"vertex:(?P<project>[a-z0-9.:-]+)/(?P<region>[a-z0-9-]+)")


def connect(to: str, *, environ: Mapping[str, str], namespace: str = "") -> Backend:
    """The backend of a name.

    Args:
        to: ``kfp:HOST``, where HOST is the address of Kubeflow Pipelines with or without scheme and port, or
            ``vertex:PROJECT/REGION``.
        environ: Credentials and endpoint overrides.
        namespace: Of a multi-user Kubeflow.

    Raises:
        InvalidReference: the name has another form.
        LadingError: the client library is not installed.
        ServiceUnreachable: Kubeflow Pipelines does not answer.
    """
    scheme, _, rest = to.partition(":")
    if scheme == "kfp" and rest:
        _needs("kfp", "pipelines")
        from lading.backends.kfp import KfpBackend

        return KfpBackend.connect(rest, environ=environ, namespace=namespace)
    if found := _VERTEX.fullmatch(to):
        _needs("google.cloud.aiplatform", "vertex")
        from lading.backends.vertex import VertexBackend

        return VertexBackend.connect(found["project"], found["region"], environ=environ)
    raise InvalidReference(
        f"expected kfp:HOST (kfp:https://pipelines.example.org) or vertex:PROJECT/REGION, received {to!r}"
    )


def _needs(module: str, extra: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a parent package is missing
        found = None
    if found is None:
        raise LadingError(f"sending a pipeline there needs {module}: pip install 'lading[{extra}]'")
