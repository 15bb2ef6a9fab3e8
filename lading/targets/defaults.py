"""What a target has to say where it has nothing to say."""

from collections.abc import Mapping, Sequence

from lading.targets.base import ServiceState
from lading.targets.settings import Settings
from lading.targets.traffic import TrafficSeen
from lading.wait import Deadline


class Defaults:
    """Of targets that split traffic by weights, and that do not see the requests."""

    def check_steps(
        self,
        service: str,
        image: str,
        steps: Sequence[int],
        *,
        settings: Settings,
        known: ServiceState | None,
        deadline: Deadline,
    ) -> None:
        """See ``Target.check_steps``: every percentage can be had."""

    def traffic_seen(self, service: str, *, deadline: Deadline) -> Mapping[str, TrafficSeen]:
        """See ``Target.traffic_seen``."""
        return {}
