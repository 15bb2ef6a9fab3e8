"""Compares what a base path has with what is served, and loads what is missing.

A version that fails is tried again when its files change, and a few times after a pause: TensorFlow Serving's
``max_num_load_retries`` and ``load_retry_interval_micros``.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from lading import storage
from lading.errors import EngineError, InvalidModel, LadingError
from lading.serving.config import ModelConfig
from lading.serving.loading import Loader, Served
from lading.serving.log import log
from lading.serving.statuses import Statuses
from lading.serving.versions import Found, check_complete, choose, find_versions, fingerprint, why_none

RETRIES = 5
RETRY_SECONDS = 60.0
REMOTE_POLL_SECONDS = 30.0
"""How often a bucket is looked at, at most: each look costs money and a round trip."""


@dataclass(frozen=True)
class Update:
    """What one look at a model's base path found."""

    config: ModelConfig
    found: Found | None
    """None: it could not be looked at, or need not be yet; what is served stays."""
    wanted: Mapping[int, str] = field(default_factory=dict)
    """Those that the policy asks for."""
    fresh: tuple[Served, ...] = ()
    """Loaded just now."""
    error: LadingError | None = None
    """Why something that is wanted is not there."""

    def applied_to(self, serving: Mapping[int, Served]) -> dict[int, Served]:
        """The versions that serve from now on.

        A version that is not wanted any more stays until what is wanted is there: as many versions as were asked for
        stay available (TensorFlow Serving: AvailabilityPreservingPolicy).
        """
        available = {**serving, **{served.version: served for served in self.fresh}}
        if self.found is None:
            return available
        kept = {number: served for number, served in available.items() if number in self.wanted}
        others = sorted((number for number in available if number not in self.wanted), reverse=True)
        if kept or not self.wanted:  # else even a version whose files are gone is better than none
            others = [number for number in others if number in self.found.places]
        asked_for = max(len(self.wanted), len(self.config.policy.specific))
        return kept | {number: available[number] for number in others[: asked_for - len(kept)]}


@dataclass(frozen=True)
class _Failure:
    place: str
    files: object
    tries: int
    again_at: float
    """``time.monotonic()``."""
    error: LadingError


class Updates:
    """Looks at base paths. One look at a model at a time."""

    def __init__(self, loader: Loader, statuses: Statuses, *, retry_seconds: float, remote_poll_seconds: float) -> None:
        self._loader = loader
        self._statuses = statuses
        self._retry_seconds = retry_seconds
        self._remote_poll_seconds = remote_poll_seconds
        self._failures: dict[tuple[str, int], _Failure] = {}
        self._looked_at: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def look(self, config: ModelConfig, serving: Mapping[int, Served], *, asked: bool) -> Update:
        """Find the versions of a model, and load those that are wanted and missing.

        Args:
            config: The model's.
            serving: What serves of it now.
            asked: Someone waits for the outcome (at start, or with a new configuration): an incomplete version is an
                error, a bucket is looked at now.
        """
        if not asked and self._is_early(config):
            return Update(config, None)
        try:
            found = find_versions(config.base_path)
        except (LadingError, OSError) as error:
            problem = error if isinstance(error, LadingError) else EngineError(f"{config.base_path}: {error}")
            self._say("base path not read", config, str(problem), severity="ERROR")
            return Update(config, None, error=problem)
        wanted = choose(found.places, config.policy)
        self._forget(config.name, wanted)
        self._complain(config, found, wanted)
        fresh, failed = [], None
        for number, place in wanted.items():
            known = serving.get(number)
            if known is not None and known.place == place:
                continue
            loaded = self._try(config, number, place, asked=asked)
            if isinstance(loaded, Served):
                fresh.append(loaded)
            else:
                failed = failed or loaded
                if known is not None:  # the same number from another place serves on
                    self._statuses.set(config.name, number, "AVAILABLE")
        if not wanted:
            failed = why_none(config.base_path, found.places, config.policy)
        return Update(config, found, wanted, tuple(fresh), failed)

    def _try(self, config: ModelConfig, number: int, place: str, *, asked: bool) -> Served | LadingError:
        key = (config.name, number)
        failure = self._failures.get(key)
        if failure is not None and failure.place != place:
            failure = None
        files: object = None
        try:
            files = fingerprint(place)
            if failure is not None and failure.files != files:
                failure = None
            if failure is not None and not asked and not self._is_due(failure):
                return failure.error
            check_complete(place)
            self._statuses.set(config.name, number, "LOADING")
            served = self._loader.load(config, number, place)
        except Exception as error:
            # Whatever it is, other models and versions go on; the reason is in the status and the log.
            problem = error if isinstance(error, LadingError) else EngineError(f"cannot load {place}: {error!r}")
            tries = failure.tries + 1 if failure else 1
            again_at = time.monotonic() + self._retry_seconds
            self._failed(config, number, _Failure(place, files, tries, again_at, problem), asked=asked)
            return problem
        self._failures.pop(key, None)
        return served

    def _failed(self, config: ModelConfig, number: int, failure: _Failure, *, asked: bool) -> None:
        self._failures[config.name, number] = failure
        if not asked and self._is_being_copied(failure):
            if number not in self._statuses.waiting(config.name):
                log(
                    "version incomplete",
                    model=config.name,
                    version=number,
                    path=failure.place,
                    error=str(failure.error),
                )
            self._statuses.set(config.name, number, "START", failure.error)
            return
        self._statuses.set(config.name, number, "END", failure.error)
        log(
            "model refused",
            severity="ERROR",
            model=config.name,
            version=number,
            path=failure.place,
            error=str(failure.error),
            tries=failure.tries,
        )

    def _is_being_copied(self, failure: _Failure) -> bool:
        try:
            check_complete(failure.place)
            return fingerprint(failure.place) != failure.files
        except InvalidModel:
            return True
        except (LadingError, OSError):
            return False

    def _is_due(self, failure: _Failure) -> bool:
        return failure.tries <= RETRIES and time.monotonic() >= failure.again_at

    def _is_early(self, config: ModelConfig) -> bool:
        if not storage.is_remote(config.base_path):
            return False
        now = time.monotonic()
        early = now < self._looked_at.get(config.name, 0.0) + self._remote_poll_seconds
        if not early:
            self._looked_at[config.name] = now
        return early

    def _forget(self, name: str, wanted: Mapping[int, str]) -> None:
        """Failures of versions that are gone, or not wanted any more."""
        for key in [key for key in self._failures if key[0] == name and key[1] not in wanted]:
            del self._failures[key]
        for number in self._statuses.waiting(name):
            if number not in wanted:
                self._statuses.set(name, number, "END")

    def _complain(self, config: ModelConfig, found: Found, wanted: Mapping[int, str]) -> None:
        problems = [f"{place} is left out: another directory has the same number" for place in found.doubles]
        problems += [
            f"version {number} is asked for, and not below {config.base_path}"
            for number in config.policy.specific
            if number not in wanted
        ]
        if not wanted:
            problems.append(str(why_none(config.base_path, found.places, config.policy)))
        self._say("versions not served", config, "; ".join(problems))

    def _say(self, what: str, config: ModelConfig, problem: str, *, severity: str = "WARNING") -> None:
        """Log a problem when it comes up, not at each look."""
        if problem and self._said.get(config.name) != problem:
            log(what, severity=severity, model=config.name, path=config.base_path, error=problem)
        self._said[config.name] = problem
