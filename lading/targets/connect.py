"""From the name of a target to the target."""

from collections.abc import Callable, Mapping

from lading.errors import InvalidInput, InvalidReference, ServiceUnreachable
from lading.files import state_dir
from lading.http import Client
from lading.results import LocalEndpoint
from lading.targets.base import Target
from lading.targets.names import TargetRef
from lading.values import from_json

INGRESS_VARIABLE = "LADING_KNATIVE_INGRESS"
"""``HOST:PORT`` of the ingress of a Knative cluster, where the names of its services lead nowhere from here."""


def connect(target: str, *, environ: Mapping[str, str], ingress: str = "") -> Target:
    """The target of a name such as ``local:``; no request is sent yet.

    Args:
        target: ``local:``, ``cloudrun:PROJECT/REGION``, ``knative:NAMESPACE``, ``kubernetes:NAMESPACE``,
            ``vertex:PROJECT/REGION``.
        environ: Says where this user's state lives and who we are: see docs/targets.md.
        ingress: ``HOST:PORT`` of the ingress of a Knative cluster; before what ``environ`` says.

    Raises:
        InvalidReference: the name is not one of a target.
        InvalidInput: what says who we are cannot be used, or an ingress is given for another target.
        ServiceUnreachable: the local target was never started.
    """
    ref = TargetRef.parse(target)
    if ref.scheme not in _TARGETS:
        raise InvalidReference(f"{target}: this version of lading deploys to {', '.join(_TARGETS)} only")
    if ingress and ref.scheme != "knative":
        raise InvalidInput(f"{target}: only knative: has an ingress to be named, received {ingress!r}: leave it away")
    return _TARGETS[ref.scheme](ref.place, {**environ, INGRESS_VARIABLE: ingress} if ingress else environ)


def _local(place: str, environ: Mapping[str, str]) -> Target:
    from lading.targets.knative.local import LocalTarget

    path = state_dir(environ) / "local" / "endpoint.json"
    try:
        endpoint = from_json(path.read_text(), LocalEndpoint)
    except FileNotFoundError as error:
        raise ServiceUnreachable("the local target does not run: start it with `lading local start`") from error
    client = Client(endpoint.url, headers={"Authorization": f"Bearer {endpoint.token}"})
    return LocalTarget(client)


def _cloudrun(place: str, environ: Mapping[str, str]) -> Target:
    from lading.targets.knative.cloudrun import CloudRunTarget

    project, _, region = place.partition("/")
    return CloudRunTarget(project, region, environ=environ)


def _knative(place: str, environ: Mapping[str, str]) -> Target:
    from lading.targets.knative.advice import knative_advice
    from lading.targets.knative.dialects import Knative
    from lading.targets.knative.target import KnativeTarget
    from lading.targets.kubeconfig import cluster_client

    ingress = environ.get(INGRESS_VARIABLE, "")
    if "/" in ingress:
        raise InvalidInput(f"--ingress, {INGRESS_VARIABLE}: expected HOST:PORT, received {ingress!r}")
    client = cluster_client(environ, advice=knative_advice(place))
    return KnativeTarget(client, place, dialect=Knative(), ingress=f"http://{ingress}" if ingress else "")


def _kubernetes(place: str, environ: Mapping[str, str]) -> Target:
    from lading.targets.kubeconfig import cluster_client
    from lading.targets.kubernetes.advice import kubernetes_advice
    from lading.targets.kubernetes.routes import GatewayName
    from lading.targets.kubernetes.target import KubernetesTarget

    client = cluster_client(environ, advice=kubernetes_advice(place))
    return KubernetesTarget(client, place, gateway=GatewayName.read(environ))


def _vertex(place: str, environ: Mapping[str, str]) -> Target:
    from lading.targets.vertex.target import VertexTarget
    from lading.vertex_api import VertexApi

    project, _, region = place.partition("/")
    return VertexTarget(VertexApi.find(project, region, environ=environ))


_TARGETS: Mapping[str, Callable[[str, Mapping[str, str]], Target]] = {
    "local": _local,
    "cloudrun": _cloudrun,
    "knative": _knative,
    "kubernetes": _kubernetes,
    "vertex": _vertex,
}
