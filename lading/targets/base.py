"""What every deployment target offers, and the state of a release on it.

The state of a release lives on the target, never in the pipeline: ``Rollout`` is stored with the service (on Knative
targets as the annotation ``lading.dev/rollout``) and changes in the same write as the traffic, under optimistic
locking.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from lading.errors import InvalidInput, InvalidReference
from lading.results import TrafficTarget
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

    def serving(self) -> tuple[TrafficTarget, ...]:
        """The lines that take traffic, without tags."""
        return tuple(TrafficTarget(t.revision, t.percent) for t in self.traffic if t.percent)


@dataclass(frozen=True)
class Settings:
    """How a revision runs. Other settings make another revision."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the container."""
    startup_seconds: int = 60
    """How long a revision may take to become ready."""

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """Read settings from JSON text such as ``{"env": {"LOG": "1"}, "startup_seconds": 90}``.

        Raises:
            InvalidInput: names every setting that is unknown or of the wrong type.
        """
        try:
            body = json.loads(text or "{}")
        except ValueError as error:
            raise InvalidInput(f"expected settings as a JSON object, received {text!r}: {error}") from error
        if not isinstance(body, dict):
            raise InvalidInput(f"expected settings as a JSON object, received {text!r}")
        problems = [f"unknown setting {name!r} (known: env, startup_seconds)" for name in body if name not in _SETTINGS]
        env = body.get("env", {})
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            problems.append(f"env: expected an object of strings, received {json.dumps(env)}")
        seconds = body.get("startup_seconds", cls.startup_seconds)
        # KFP turns integers inside objects into floats, so 90.0 is 90.
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 1 or seconds != int(seconds):
            problems.append(f"startup_seconds: expected a whole number of at least 1, received {seconds!r}")
        if problems:
            raise InvalidInput("settings: " + "; ".join(problems))
        return cls(env=env, startup_seconds=int(seconds))


_SETTINGS = frozenset({"env", "startup_seconds"})


class Target(Protocol):
    """A place where services live. Every method is safe to repeat."""

    def get(self, service: str, *, deadline: Deadline) -> ServiceState | None:
        """The service, or None when there is none."""

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

        Raises:
            Conflict: the service changed since ``known`` was read.
        """

    def delete(self, service: str, *, deadline: Deadline) -> None:
        """Remove the service and its revisions; nothing happens when there is none."""


@dataclass(frozen=True)
class TargetRef:
    """A target by name: ``scheme:place``."""

    scheme: str
    place: str

    SCHEMES = ("local",)

    @classmethod
    def parse(cls, text: str) -> "TargetRef":
        """Read a target such as ``local:``.

        Raises:
            InvalidReference: the scheme is unknown.
        """
        scheme, colon, place = text.partition(":")
        if not colon or scheme not in cls.SCHEMES:
            known = ", ".join(f"{name}:" for name in cls.SCHEMES)
            raise InvalidReference(f"expected a target ({known}), received {text!r}")
        return cls(scheme, place)


def undo(target: Target, known: ServiceState, *, deadline: Deadline) -> ServiceState | None:
    """End an open release by restoring the split from before it; a service that the release created is deleted.

    Returns:
        The service as it then is, or None when it is gone. A release that has ended is left alone.
    """
    rollout = known.rollout
    if rollout is None or not rollout.open:
        return known
    if not rollout.before:
        target.delete(known.name, deadline=deadline)
        return None
    return target.shift(known, rollout.before, rollout.now(Phase.UNDONE), deadline=deadline)
