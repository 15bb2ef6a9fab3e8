"""From the name of a backend to the backend."""

import importlib.util
import re
from collections.abc import Mapping

from lading.backends.base import Backend
from lading.errors import InvalidReference, LadingError

_VERTEX = re.compile(r"vertex:[a-z0-9.:-]+/[a-z]+-[a-z]+\d+")


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
    if kind_of(to) == "kfp":
        _needs("kfp", "pipelines")
        from lading.backends.kfp import KfpBackend

        return KfpBackend.connect(to.removeprefix("kfp:"), environ=environ, namespace=namespace)
    _needs("google.cloud.aiplatform_v1", "vertex")
    from lading.backends.vertex import VertexBackend

    project, _, region = to.removeprefix("vertex:").partition("/")
    return VertexBackend.connect(project, region, environ=environ)


def kind_of(to: str) -> str:
    """``kfp`` or ``vertex``.

    Raises:
        InvalidReference: the name is not one of a backend.
    """
    if to.startswith("kfp:") and to != "kfp:":
        return "kfp"
    if _VERTEX.fullmatch(to):
        return "vertex"
    raise InvalidReference(
        "expected kfp:HOST (kfp:https://pipelines.example.org) or vertex:PROJECT/REGION "
        f"(vertex:my-project/europe-west4), received {to!r}"
    )


def _needs(module: str, extra: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a parent package is missing
        found = None
    if found is None:
        raise LadingError(f"sending a pipeline there needs {module}: pip install 'lading[{extra}]'")
