"""The state of a release on an endpoint of Vertex AI: two lines of its description.

Labels are too short for it (64 characters of a small alphabet each), and the description changes in the same write
as the split.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lading.releases import TrafficTarget
from lading.targets.base import Change, Rollout, ServiceState
from lading.targets.vertex.models import Version

MOST_CHARACTERS = 4000
"""Of a description; Vertex documents no limit, so the oldest changes go before it is long."""
_ROLLOUT, _HISTORY = "lading.dev/rollout ", "lading.dev/history "


@dataclass(frozen=True)
class Notes:
    """What lading notes on an endpoint."""

    rollout: Rollout | None
    history: tuple[Change, ...]

    @classmethod
    def read(cls, description: str) -> "Notes":
        """Find the notes in a description; there may be none."""
        rollout: Rollout | None = None
        history: tuple[Change, ...] = ()
        for line in description.splitlines():
            if line.startswith(_ROLLOUT):
                rollout = Rollout.from_annotation(line.removeprefix(_ROLLOUT))
            elif line.startswith(_HISTORY):
                history = Change.from_annotation(line.removeprefix(_HISTORY))
        return cls(rollout, history)

    def write(self, description: str = "") -> str:
        """A description with these notes instead of its own; people's lines stay."""
        kept = [line for line in description.splitlines() if not line.startswith((_ROLLOUT, _HISTORY))]
        lines = kept or ["Deployed by lading, which keeps the state of the release in the lines below."]
        if self.rollout:
            lines.append(_ROLLOUT + self.rollout.to_annotation())
        for first in range(len(self.history) + 1):
            text = "\n".join([*lines, _HISTORY + Change.to_annotation(self.history[first:])])
            if len(text) <= MOST_CHARACTERS:
                return text
        return "\n".join(lines)


def revisions_of(endpoint: Any) -> dict[str, str]:
    """The revisions on an endpoint, by the id of the deployed model.

    Lading's are called as their version's alias is; others as people named them, or by their id if that says nothing.
    """
    names = Counter(deployed.display_name for deployed in endpoint.deployed_models)
    deployed_models = {deployed.id: deployed.display_name for deployed in endpoint.deployed_models}
    models = {deployed.id: deployed.model for deployed in endpoint.deployed_models}
    same = {name for name in names if len({models[id] for id, one in deployed_models.items() if one == name}) > 1}
    return {id: name if name and name not in same else id for id, name in deployed_models.items()}


def split_of(endpoint: Any) -> tuple[TrafficTarget, ...]:
    """The lines with traffic, the largest first."""
    shares: Counter[str] = Counter()
    names = revisions_of(endpoint)
    for id, percent in endpoint.traffic_split.items():
        shares[names.get(id, id)] += percent
    lines = (TrafficTarget(name, percent) for name, percent in shares.items() if percent)
    return tuple(sorted(lines, key=lambda line: (-line.percent, line.revision)))


def ids_of(endpoint: Any, split: Iterable[TrafficTarget]) -> dict[str, int]:
    """A split as Vertex takes it: percentages by the id of deployed models."""
    # A step that was killed may have left two of one revision: the one with traffic keeps it.
    by_traffic = sorted(endpoint.deployed_models, key=lambda deployed: endpoint.traffic_split.get(deployed.id, 0))
    names = revisions_of(endpoint)
    ids = {names[deployed.id]: deployed.id for deployed in by_traffic}
    return {ids[line.revision]: line.percent for line in split if line.percent}


def version_of(endpoint: Any) -> str:
    """What was asked of a service: its split and the release it carries. An etag also changes with what is deployed."""
    split = sorted(dict(endpoint.traffic_split).items())
    lines = [line for line in endpoint.description.splitlines() if line.startswith(_ROLLOUT)]
    content = json.dumps([endpoint.name, str(endpoint.create_time), split, lines])
    return hashlib.sha256(content.encode()).hexdigest()


def state_of(
    service: str, endpoint: Any, versions: tuple[Version, ...], *, url: str, candidate: TrafficTarget | None
) -> ServiceState:
    """A service as its endpoint and the versions of its model say."""
    notes, split = Notes.read(endpoint.description), split_of(endpoint)
    ours = [version.spec.revision for version in versions]
    others = dict.fromkeys(name for name in revisions_of(endpoint).values() if name not in ours)
    return ServiceState(
        name=service,
        url=url,
        traffic=(*split, *((candidate,) if candidate else ())),
        revisions=(*dict.fromkeys(ours), *others),
        images={version.spec.revision: version.spec.image for version in versions},
        rollout=notes.rollout,
        version=version_of(endpoint),
        history=notes.history,
    )
