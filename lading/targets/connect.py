"""From the name of a target to the target."""

from collections.abc import Mapping

from lading.errors import InvalidReference, ServiceUnreachable
from lading.files import state_dir
from lading.http import Client
from lading.results import LocalEndpoint
from lading.targets.base import Target, TargetRef
from lading.targets.knative import KnativeTarget
from lading.values import from_json


def connect(target: str, *, environ: Mapping[str, str]) -> Target:
    """The target of a name such as ``local:``; no request is sent yet.

    Args:
        target: ``local:``, the embedded target of this machine.
        environ: Says where this user's state lives.

    Raises:
        InvalidReference: the name is not one of a target.
        ServiceUnreachable: the local target was never started.
    """
    scheme = TargetRef.parse(target).scheme
    if scheme != "local":
        raise InvalidReference(f"{target}: this version of lading deploys to local: only")
    path = state_dir(environ) / "local" / "endpoint.json"
    try:
        endpoint = from_json(path.read_text(), LocalEndpoint)
    except FileNotFoundError as error:
        raise ServiceUnreachable("the local target does not run: start it with `lading local start`") from error
    client = Client(endpoint.url, headers={"Authorization": f"Bearer {endpoint.token}"})
    return KnativeTarget(client, "default")
