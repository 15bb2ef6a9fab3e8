"""The embedded target: the Knative Serving API on loopback, and a router that sees every request."""

from collections.abc import Mapping

from lading.http import Client
from lading.targets.knative.dialects import Local
from lading.targets.knative.target import KnativeTarget
from lading.targets.traffic import TrafficSeen
from lading.wait import Deadline

_NAMESPACE = "default"


class LocalTarget(KnativeTarget):
    """A ``Target`` on this machine.

    Args:
        client: Reaches its API and carries the token.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client, _NAMESPACE, dialect=Local())
        self._traffic = f"/apis/local.lading.dev/v1/namespaces/{_NAMESPACE}/services"

    def traffic_seen(self, service: str, *, deadline: Deadline) -> Mapping[str, TrafficSeen]:
        """See ``Target.traffic_seen``."""
        answer = self._client.request("GET", f"{self._traffic}/{service}/traffic", deadline=deadline)
        return TrafficSeen.read(answer.json())
