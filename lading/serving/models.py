"""The models of a serving process: loaded, warmed up, and found by name, version and label.

Requests read one immutable table, without a lock. One thread at a time changes what is served: it builds a new table
and puts it in the place of the old; then what the new table lacks is unloaded.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from lading.errors import EngineError, InvalidInput, InvalidInstance, ModelClosed, NotFound
from lading.predict.cpus import available_cpus
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.loading import Loader, LoadMetrics, Served
from lading.serving.log import log
from lading.serving.statuses import Statuses, VersionStatus
from lading.serving.updates import REMOTE_POLL_SECONDS, RETRY_SECONDS, Update, Updates
from lading.serving.watch import ConfigFile, Watch

__all__ = ["LoadMetrics", "Models", "Served", "VersionStatus"]

CLOSE_SECONDS = 0.5
"""How long closing waits for who changes what is served: long enough for a look, too short for a load, which cannot be
interrupted."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Table:
    """What is served. Never altered."""

    versions: Mapping[str, Mapping[int, Served]] = field(default_factory=dict)
    latest: Mapping[str, Served] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def updated(self, configs: Sequence[ModelConfig], updates: Iterable[Update]) -> "_Table":
        by_name = {update.config.name: update for update in updates}
        versions = {}
        for config in configs:
            serving = self.versions.get(config.name, {})
            update = by_name.get(config.name)
            serving = serving if update is None else update.applied_to(serving)
            if serving:
                versions[config.name] = serving
        latest = {name: serving[max(serving)] for name, serving in versions.items()}
        return _Table(versions, latest, {config.name: config.labels for config in configs if config.labels})

    def lacking(self) -> list[str]:
        """A line for each label whose version is not served."""
        return [
            f'the label "{label}" of the model {name} points at version {version}, which is not loaded'
            for name, labels in self.labels.items()
            for label, version in labels.items()
            if version not in self.versions.get(name, {})
        ]


class Models:
    """The models of a process. Thread-safe.

    Args:
        config: The settings. What is served until ``reload``: its ``models``, or what its ``model_config_file`` names.
        metrics: Is told of every model that was loaded.
        retry_seconds: The pause before a version that failed is tried again.
        remote_poll_seconds: How often a bucket is looked at, at most.
    """

    def __init__(
        self,
        config: ServeConfig,
        *,
        metrics: LoadMetrics | None = None,
        retry_seconds: float = RETRY_SECONDS,
        remote_poll_seconds: float = REMOTE_POLL_SECONDS,
    ) -> None:
        self.generation = 0
        """Changes with what is served."""
        self._config = config
        self._configs = config.models
        self._table = _Table()
        self._statuses = Statuses()
        self._loader = Loader(config, metrics)
        self._updates = Updates(
            self._loader, self._statuses, retry_seconds=retry_seconds, remote_poll_seconds=remote_poll_seconds
        )
        self._control = threading.Lock()
        self._closed = threading.Event()
        self._file = None if config.model_config_file is None else ConfigFile(config.model_config_file)

    @property
    def said(self) -> dict[str, str]:
        """What the process says of itself, by header."""
        return self._config.said

    def load(self) -> None:
        """Load every model, and warm it up; returns when all are ready, or have failed.

        Of several models those that can be loaded are served; the reasons of the others are in their status and the
        log, and ``is_ready()`` is False until they are there.

        Raises:
            EngineError: none can be served; names the models and the reasons.
            InvalidInput: the configuration file cannot be read, or is refused.
        """
        with self._control:
            if self._file is not None:
                self._configs = self._file.read()
            updates = self._look_at(self._configs)
            table = self._table.updated(self._configs, updates)
            self._swap(table, updates)
            if self._configs and not table.latest:
                self._loader.close()
                raise self._cannot_serve(updates)
            for problem in table.lacking():
                log("label without a version", severity="ERROR", error=problem)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Served:
        """The model of a name: the highest version, or the one of a number or label.

        Raises:
            NotFound: unknown model or version, with TensorFlow Serving's text.
            InvalidInstance: unknown label, with TensorFlow Serving's text.
        """
        table = self._table
        if version is None and label is None:
            served = table.latest.get(name)
            if served is not None:
                return served
            raise NotFound(f"Servable not found for request: Latest({name})")
        if version is None:
            version = table.labels.get(name, {}).get(label or "")
            if version is None:
                raise InvalidInstance(f"Unrecognized servable version label: {label}")
        served = table.versions.get(name, {}).get(version)
        if served is None:
            raise NotFound(f"Servable not found for request: Specific({name}, {version})")
        return served

    def use(self, call: Callable[[Served], T], name: str, version: int | None = None, label: str | None = None) -> T:
        """What ``call`` gives for the model that ``find`` gives; again if that model is unloaded in the meantime."""
        served = self.find(name, version, label)
        while True:
            try:
                return call(served)
            except ModelClosed:
                now = self.find(name, version, label)
                if now is served:  # the process ends
                    raise
                served = now

    def names(self) -> list[str]:
        """The models that are configured, in order."""
        return [model.name for model in self._configs]

    def statuses(self, name: str, version: int | None = None, label: str | None = None) -> Sequence[VersionStatus]:
        """Every version of a model that is or was known, the highest first; or the one asked for.

        A label is not looked at, as in TensorFlow Serving.

        Raises:
            NotFound: unknown model or version, with TensorFlow Serving's text.
        """
        return self._statuses.of(name, version)

    def is_ready(self, name: str | None = None, version: int | None = None) -> bool:
        """Whether every model (or the one of the name and version) answers requests."""
        table = self._table
        if name is None:
            return all(model.name in table.latest for model in self._configs)
        return name in table.latest if version is None else version in table.versions.get(name, {})

    def look(self) -> None:
        """Look at the base paths once: load what is new, unload what is gone. ``start_watching`` does so regularly."""
        for config in self._configs:
            with self._control:
                if self._closed.is_set() or config not in self._configs:
                    return
                update = self._updates.look(config, self._table.versions.get(config.name, {}), asked=False)
                self._swap(self._table.updated(self._configs, [update]), [update])

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models instead: load what is new, then unload what is not among them.

        Args:
            configs: All models that are served from now on.

        Raises:
            InvalidInput: a name is used twice, or a label points at a version that is not loaded; nothing has changed.
            EngineError: the set is served but for models of which no version that is wanted can be loaded; what served
                of these before stays, and they are tried again.
        """
        configs = tuple(configs)
        doubles = {config.name for config in configs if [other.name for other in configs].count(config.name) > 1}
        if doubles:
            raise InvalidInput(f"models need different names; used twice: {', '.join(sorted(doubles))}")
        with self._control:
            if self._closed.is_set():
                raise ModelClosed("the server ends")
            updates = self._look_at(configs)
            table = self._table.updated(configs, updates)
            problems = table.lacking()
            if problems:
                self._drop(updates)
                reasons = [f"{update.config.name}: {update.error}" for update in updates if update.error]
                raise InvalidInput("; ".join([*problems, *reasons]))
            self._configs = configs
            self._swap(table, updates)
            log("models configured", models={config.name: config.base_path for config in configs})
        failed = [
            update for update in updates if not update.wanted.keys() & table.versions.get(update.config.name, {}).keys()
        ]
        if failed:
            raise self._cannot_serve(failed)

    def start_watching(self) -> None:
        """Start a thread that looks at base paths and the configuration file as often as the settings say."""
        tasks = [(self._config.poll_seconds, self.look)]
        if self._file is not None:
            tasks.append((self._config.model_config_poll_seconds, partial(self._file.look, self)))
        Watch([(seconds, task) for seconds, task in tasks if seconds > 0], self._closed).start()

    def close(self) -> bool:
        """Free every model once its running predictions have ended; nothing is loaded any more.

        Returns:
            False if a load still runs: it cannot be interrupted, and the models are not freed. What was copied from
            buckets is deleted all the same.
        """
        self._closed.set()
        if not self._control.acquire(timeout=CLOSE_SECONDS):
            self._loader.close()
            return False
        try:
            for serving in self._table.versions.values():
                for served in serving.values():
                    served.model.close()
            self._loader.close()
            return True
        finally:
            self._control.release()

    def _look_at(self, configs: Sequence[ModelConfig]) -> list[Update]:
        """Look at each model because someone waits for it; several side by side."""

        def look(config: ModelConfig) -> Update:
            return self._updates.look(config, self._table.versions.get(config.name, {}), asked=True)

        if len(configs) <= 1:
            return [look(config) for config in configs]
        with ThreadPoolExecutor(min(len(configs), available_cpus()), thread_name_prefix="load") as pool:
            return list(pool.map(look, configs))

    def _swap(self, table: _Table, updates: Iterable[Update]) -> None:
        """Serve by a new table; unload what is not in it."""
        old, self._table = self._table, table
        self.generation += 1
        for update in updates:
            for served in update.fresh:
                self._statuses.set(served.name, served.version, "AVAILABLE")
        for name, serving in old.versions.items():
            for number, served in serving.items():
                there = table.versions.get(name, {}).get(number)
                if there is None:
                    self._statuses.set(name, number, "UNLOADING")
                    self._loader.unload(served)
                    self._statuses.set(name, number, "END")
                elif there is not served:  # the same number from another place
                    self._loader.unload(served)

    def _drop(self, updates: Iterable[Update]) -> None:
        """Unload what was loaded for a configuration that is refused."""
        for update in updates:
            for served in update.fresh:
                self._loader.unload(served)
                if served.version not in self._table.versions.get(served.name, {}):
                    self._statuses.set(served.name, served.version, "END")

    def _cannot_serve(self, updates: Sequence[Update]) -> EngineError:
        reasons = [f"cannot serve the model {update.config.name}: {update.error}" for update in updates]
        return EngineError("; ".join(reasons))
