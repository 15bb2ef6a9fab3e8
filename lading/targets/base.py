"""What every deployment target offers, and the state of a release on it.

The state of a release lives on the target, never in the pipeline: ``Rollout`` is stored with the service (on Knative
targets as the annotation ``lading.dev/rollout``) and changes in the same write as the traffic, under optimistic
locking.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from lading.releases import Candidate, TrafficTarget
from lading.targets.door import Door
from lading.targets.settings import Settings
from lading.targets.traffic import TrafficSeen
from lading.wait import Deadline


class Phase(StrEnum):
    """Where a release stands."""

    CANDIDATE = "candidate"
    """A revision is deployed and takes no traffic."""
    SHIFTING = "shifting"
    """Traffic is being moved to it."""
    PROMOTED = "promoted"
    """It took over: the release has ended."""
    UNDONE = "undone"
    """The split from before the release is back: the release has ended."""


CANDIDATE_TAG = "candidate"
"""Tag of the line that is not promoted yet: as long as it has one it can be asked alone."""
LEASE_SECONDS = 900.0
"""How long a release may stay open before whoever comes next counts it as abandoned and undoes it."""

OPEN_PHASES = frozenset({Phase.CANDIDATE, Phase.SHIFTING})


@dataclass(frozen=True)
class Rollout:
    """A release, as it is stored with the service that it changes."""

    id: str
    """Which run made it."""
    before: tuple[TrafficTarget, ...]
    """The split that an undo restores; empty when the release created the service."""
    after: tuple[TrafficTarget, ...]
    """The split that the release leads to."""
    phase: Phase
    expires: float
    """Seconds since the epoch after which an open release counts as abandoned."""
    reason: str = ""
    """Why the traffic changes, for the history."""

    @property
    def open(self) -> bool:
        """Whether the release has not ended."""
        return self.phase in OPEN_PHASES

    def abandoned(self, now: float | None = None) -> bool:
        """Whether the release is open past its lease, so that whoever comes next must undo it."""
        return self.open and (time.time() if now is None else now) > self.expires

    def to_annotation(self) -> str:
        """The JSON text stored on the target: ``{id, from, to, phase, expires}``."""
        return json.dumps(
            {
                "id": self.id,
                "from": [[t.revision, t.percent] for t in self.before],
                "to": [[t.revision, t.percent] for t in self.after],
                "phase": self.phase.value,
                "expires": round(self.expires, 3),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_annotation(cls, text: str) -> "Rollout":
        """Read what ``to_annotation`` wrote."""
        body = json.loads(text)
        return cls(
            id=body["id"],
            before=tuple(TrafficTarget(revision, percent) for revision, percent in body["from"]),
            after=tuple(TrafficTarget(revision, percent) for revision, percent in body["to"]),
            phase=Phase(body["phase"]),
            expires=float(body["expires"]),
        )

    def now(self, phase: Phase, *, lease_seconds: float = 0.0) -> "Rollout":
        """The same release in another phase, its lease renewed."""
        return replace(self, phase=phase, expires=time.time() + lease_seconds)


MOST_CHANGES = 10
"""So many changes of traffic are remembered with a service."""


@dataclass(frozen=True)
class Change:
    """A change of traffic that was made."""

    time: float
    """Seconds since the epoch."""
    release_id: str
    traffic: tuple[TrafficTarget, ...]
    """The split that it led to, without tags."""
    reason: str

    @staticmethod
    def to_annotation(history: "tuple[Change, ...]") -> str:
        """The JSON text stored on the target."""
        return json.dumps(
            [[round(c.time, 3), c.release_id, [[t.revision, t.percent] for t in c.traffic], c.reason] for c in history],
            separators=(",", ":"),
        )

    @staticmethod
    def from_annotation(text: str) -> "tuple[Change, ...]":
        """Read what ``to_annotation`` wrote."""
        return tuple(
            Change(when, release, tuple(TrafficTarget(revision, percent) for revision, percent in traffic), reason)
            for when, release, traffic, reason in json.loads(text or "[]")
        )


@dataclass(frozen=True)
class ServiceState:
    """A service as the target reports it; never what was asked for."""

    name: str
    url: str
    traffic: tuple[TrafficTarget, ...]
    """The split in force: lines with traffic, and tagged lines without."""
    revisions: tuple[str, ...]
    """Newest first."""
    images: Mapping[str, str]
    """Image by digest of each revision."""
    rollout: Rollout | None
    version: str
    """The target's own mark of this state; a write that carries an older one is refused."""
    history: tuple[Change, ...] = ()
    """The last changes of traffic, newest last."""

    def serving(self) -> tuple[TrafficTarget, ...]:
        """The lines that take traffic, without tags."""
        return tuple(TrafficTarget(t.revision, t.percent) for t in self.traffic if t.percent)


@dataclass(frozen=True)
class Capabilities:
    """What a target can do; printed in docs/targets.md."""

    settings: frozenset[str]
    """Names of the ``Settings`` that it honours; others are refused."""
    candidate: str
    """How a candidate without traffic is asked, in words."""
    public: bool
    """Whether a service can be opened to everyone."""
    private: bool
    """Whether a service is closed to everyone else until it is opened."""
    sees_traffic: bool = False
    """Whether it counts the users' requests to each revision, all of them: ``Target.traffic_seen``."""


class Target(Protocol):
    """A place where services live. Every method is safe to repeat."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def get(self, service: str, *, deadline: Deadline) -> ServiceState | None:
        """The service, or None when there is none."""

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
        """See that a release can take these steps, before anything is begun.

        Args:
            service: Its name.
            image: By digest; with the settings it makes a revision.
            steps: Percentages of the traffic for it, while what serves now shares the rest.
            settings: How it runs.
            known: The service; None if there is none.
            deadline: When to give up.

        Raises:
            InvalidInput: one of them cannot be made; says which could.
        """

    def deploy(
        self,
        service: str,
        image: str,
        *,
        settings: Settings,
        rollout: Rollout,
        known: ServiceState | None,
        deadline: Deadline,
    ) -> tuple[ServiceState, TrafficTarget]:
        """Bring a revision up beside what serves, and wait until it is ready.

        Traffic stays as it is; only a service that did not exist sends all of it to its first revision.

        Returns:
            The service, and the candidate's line (its revision, and the URL where it alone answers).

        Raises:
            RevisionFailed: the revision will not start; the service is as it was before.
            Conflict: the service changed since ``known`` was read.
        """

    def shift(
        self, known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None, *, deadline: Deadline
    ) -> ServiceState:
        """Write the split and the release in one write; return the state that the target then reports.

        The change is added to the service's history (``remembered``).

        Raises:
            Conflict: the service changed since ``known`` was read.
        """

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> Door:
        """The way to ask a service: one line of its split alone, or the service by its split.

        Args:
            service: Its name.
            line: A revision with the URL where it alone answers, as ``deploy`` returned it; None for the service.
            url: Of the service.
            model: Name of the model on the server.
        """

    def traffic_seen(self, service: str, *, deadline: Deadline) -> Mapping[str, TrafficSeen]:
        """The users' requests to each revision, counted; nothing where they are not seen (``capabilities``)."""

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """Let everyone ask the service, or only those who may.

        Raises:
            InvalidInput: the target cannot do that (``capabilities.public``, ``.private``).
        """

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """Remove the service and its revisions; nothing happens when there is none."""


def candidate_door(target: Target, candidate: Candidate) -> Door:
    """The way to ask a candidate alone."""
    line = TrafficTarget(candidate.revision, 0, url=candidate.url)
    return target.door(candidate.service, line, url=candidate.service_url, model=candidate.model)


def remembered(known: ServiceState, traffic: tuple[TrafficTarget, ...], rollout: Rollout | None) -> tuple[Change, ...]:
    """The history of a service after a change of its split; unchanged if the split is the one that was there.

    A first release has its split from the beginning: it is remembered when it is promoted.
    """
    split = tuple(TrafficTarget(line.revision, line.percent) for line in traffic if line.percent)
    is_first = not known.history and rollout is not None and rollout.phase is Phase.PROMOTED
    if split == known.serving() and not is_first:
        return known.history
    made = Change(time.time(), rollout.id if rollout else "", split, rollout.reason if rollout else "")
    return (*known.history, made)[-MOST_CHANGES:]


def undo(target: Target, known: ServiceState, *, deadline: Deadline, reason: str = "") -> ServiceState | None:
    """End an open release by restoring the split from before it; a service that the release created is deleted.

    Args:
        target: Where the service lives.
        known: The service.
        deadline: When to give up.
        reason: For the history.

    Returns:
        The service as it then is, or None when it is gone. A release that has ended is left alone.
    """
    rollout = known.rollout
    if rollout is None or not rollout.open:
        return known
    if not rollout.before:
        target.delete(known.name, deadline=deadline)
        return None
    ended = replace(rollout, reason=reason or "the release was undone").now(Phase.UNDONE)
    return target.shift(known, rollout.before, ended, deadline=deadline)
