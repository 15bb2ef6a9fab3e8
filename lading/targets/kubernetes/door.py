"""The way to a revision through the API server."""

from lading.errors import NotFound
from lading.targets.door import HttpDoor
from lading.wait import Deadline


class ProxyDoor(HttpDoor):
    """A Service asked through the API server's proxy.

    The proxy knows a Service by its Endpoints, which another controller makes than the EndpointSlices that say that
    pods are ready. Before, it answers 404 (``pkg/registry/core/service/storage``, ``ResourceLocation``).
    """

    def is_ready(self, *, deadline: Deadline) -> bool:
        """See ``Door.is_ready``; a Service that the proxy has not heard of is not ready yet."""
        try:
            return super().is_ready(deadline=deadline)
        except NotFound:
            return False
