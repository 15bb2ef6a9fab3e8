"""What became of every version, as status requests see it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from lading.errors import LadingError, NotFound
from lading.serving.errors import code_of

MOST_ENDED = 100
"""So many versions that ended are remembered of a model: a server that loads a new one each minute must not grow."""


@dataclass(frozen=True)
class VersionStatus:
    """Where a version is in its life. Source: tensorflow_serving/apis/get_model_status.proto."""

    version: int
    state: str
    """``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING`` or ``END``."""
    error_code: str = "OK"
    error_message: str = ""


class Statuses:
    """The status of each version of each model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, dict[int, VersionStatus]] = {}

    def set(self, name: str, version: int, state: str, error: LadingError | None = None) -> None:
        """Remember where a version is, and the reason if it failed or waits."""
        status = VersionStatus(version, state)
        if error is not None:
            status = VersionStatus(version, state, code_of(error).name, str(error))
        with self._lock:
            versions = self._models.setdefault(name, {})
            versions[version] = status
            ended = sorted(number for number, known in versions.items() if known.state == "END" and number != version)
            for number in ended[: max(0, len(ended) - MOST_ENDED)]:
                del versions[number]

    def of(self, name: str, version: int | None = None) -> Sequence[VersionStatus]:
        """Every version that is or was known, the highest first; or the one asked for.

        Raises:
            NotFound: unknown model or version, with TensorFlow Serving's text.
        """
        with self._lock:
            versions = dict(self._models.get(name, {}))
        if version is not None and version in versions:
            return [versions[version]]
        if version is None and versions:
            return [versions[number] for number in sorted(versions, reverse=True)]
        what = "any versions of" if version is None else f"version {version} of"
        raise NotFound(f"Could not find {what} model {name}")

    def waiting(self, name: str) -> list[int]:
        """The versions that were seen and neither serve nor failed."""
        with self._lock:
            return [number for number, known in self._models.get(name, {}).items() if known.state == "START"]
