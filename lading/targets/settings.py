"""How a revision runs: one set of names for all targets."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lading.errors import InvalidInput

_CPU = re.compile(r"\d+(\.\d+)?|\d+m")
_MEMORY = re.compile(r"\d+(\.\d+)?([KMGT]i?)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"[^:]+:[^:]+")
EXECUTION_ENVIRONMENTS = ("gen1", "gen2")
INGRESS = ("all", "internal", "internal-and-cloud-load-balancing")


@dataclass(frozen=True)
class Settings:
    """How a service runs. Settings of revisions make another revision when they change, those of the service do not.

    An empty text, 0 and False stand for what the target does by default.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the container."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variables from secrets: ``NAME: SECRET:VERSION`` (Secret Manager) or ``SECRET:KEY`` (Kubernetes)."""
    cpu: str = ""
    """Processors of an instance, as Kubernetes writes them: ``2``, ``500m``."""
    memory: str = ""
    """As Kubernetes writes it: ``512Mi``, ``2Gi``."""
    concurrency: int = 0
    """Requests that an instance may work on at once."""
    min_instances: int = 0
    """Kept warm for the whole service."""
    max_instances: int = 0
    """For each revision."""
    cpu_boost: bool = False
    """More processor time while an instance starts."""
    execution_environment: str = ""
    """One of ``EXECUTION_ENVIRONMENTS``."""
    machine_type: str = ""
    """Of the nodes, where the target has nodes: ``n1-standard-4``."""
    timeout_seconds: int = 0
    """A request may take so long."""
    service_account: str = ""
    """Who the container is: an e-mail address on Google Cloud, a name on Kubernetes."""
    ingress: str = ""
    """Where requests may come from: one of ``INGRESS``."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the service, for whoever lists or bills it."""
    startup_seconds: int = 60
    """How long a revision may take to become ready."""

    @classmethod
    def parse(cls, text: str) -> "Settings":
        """Read settings from JSON text such as ``{"env": {"LOG": "1"}, "memory": "512Mi", "startup_seconds": 90}``.

        Raises:
            InvalidInput: names every setting that is unknown or of the wrong type.
        """
        try:
            body = json.loads(text or "{}")
        except ValueError as error:
            raise InvalidInput(f"expected settings as a JSON object, received {text!r}: {error}") from error
        if not isinstance(body, dict):
            raise InvalidInput(f"expected settings as a JSON object, received {text!r}")
        known = ", ".join(sorted(_CHECKS))
        problems = [f"unknown setting {name!r} (known: {known})" for name in body if name not in _CHECKS]
        values: dict[str, Any] = {}
        for name, value in body.items():
            if name in _CHECKS:
                expected, check = _CHECKS[name]
                found = check(value)
                if found is None:
                    problems.append(f"{name}: expected {expected}, received {json.dumps(value)}")
                values[name] = found
        if problems:
            raise InvalidInput("settings: " + "; ".join(problems))
        return cls(**values)

    def given(self) -> set[str]:
        """The names of the settings that differ from their defaults."""
        plain = Settings()
        return {one.name for one in fields(self) if getattr(self, one.name) != getattr(plain, one.name)}

    def check(self, honoured: Collection[str], target: str) -> None:
        """See that a target has every setting that is given.

        Raises:
            InvalidInput: names those that it does not have.
        """
        if unknown := sorted(self.given() - set(honoured)):
            raise InvalidInput(
                f"settings: {target} has no {', '.join(unknown)} (it has: {', '.join(sorted(honoured))})"
            )


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str | None]:
    # KFP turns integers inside objects into floats, so 2.0 processors are 2.
    def check(value: Any) -> str | None:
        text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value
        return text if isinstance(text, str) and pattern.fullmatch(text) else None

    return check


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str | None]:
    return lambda value: value if value in allowed else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(least: int) -> Callable[[Any], int | None]:
    def check(value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least or value != int(value):
            return None
        return int(value)

    return check


def _texts(value: Any) -> dict[str, str] | None:
    return value if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()) else None


def _variables(value: Any) -> dict[str, str] | None:
    return _texts(value) if isinstance(value, dict) and all(_NAME.fullmatch(name) for name in value) else None


def _secrets(value: Any) -> dict[str, str] | None:
    found = _variables(value)
    return found if found is not None and all(_SECRET.fullmatch(one) for one in found.values()) else None


_CHECKS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "env": ("an object of strings", _variables),
    "secrets": ('an object such as {"TOKEN": "SECRET:VERSION"}', _secrets),
    "cpu": ('processors such as "2" or "500m"', _matching(_CPU)),
    "memory": ('memory such as "512Mi" or "2Gi"', _matching(_MEMORY)),
    "concurrency": ("a whole number of at least 1", _whole(1)),
    "min_instances": ("a whole number of at least 0", _whole(0)),
    "max_instances": ("a whole number of at least 1", _whole(1)),
    "cpu_boost": ("true or false", lambda value: value if isinstance(value, bool) else None),
    "execution_environment": (" or ".join(EXECUTION_ENVIRONMENTS), _one_of(EXECUTION_ENVIRONMENTS)),
    "machine_type": ('a machine type such as "n1-standard-4"', _text),
    "timeout_seconds": ("a whole number of at least 1", _whole(1)),
    "service_account": ("a service account", _text),
    "ingress": (" or ".join(INGRESS), _one_of(INGRESS)),
    "labels": ("an object of strings", _texts),
    "startup_seconds": ("a whole number of at least 1", _whole(1)),
}
