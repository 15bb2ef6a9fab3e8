"""Loads one version of a model: copies it if it lies in a bucket, checks it, loads it, warms it up."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from lading import storage
from lading.predict import Model, Signature, load_model
from lading.predict.batching import BatchingEngine
from lading.predict.engine import Engine
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.copies import Copies
from lading.serving.log import log
from lading.serving.tensorflow_metrics import ModelMetrics, TensorflowMetrics
from lading.serving.versions import check_links
from lading.serving.warm_up import warm_up

Arrays = Mapping[str, npt.NDArray[Any]]


class LoadMetrics(Protocol):
    """What is told of each model that was loaded."""

    tensorflow: TensorflowMetrics
    """What TensorFlow Serving counts of it."""

    def loaded(self, *, model: str, version: int, seconds: float) -> None:
        """A version was loaded and warmed up in so many seconds."""

    def batch(self, *, model: str, rows: int, queued_seconds: float) -> None:
        """A batch of so many rows ran; its oldest request had waited so long."""


@dataclass(frozen=True)
class Served:
    """A version of a model that answers requests."""

    name: str
    version: int
    model: Model
    place: str = ""
    """Where it was loaded from: a path, or ``gs://…``."""
    metrics: ModelMetrics = field(default_factory=ModelMetrics, compare=False)

    def run(self, signature: Signature, arrays: Sequence[npt.NDArray[Any]]) -> Arrays:
        """As ``Model.run``, and counted."""
        started = time.perf_counter()
        outputs = self.model.run(signature, arrays)
        self.metrics.ran("Predict", time.perf_counter() - started)
        return outputs

    def run_together(
        self,
        signature: Signature,
        requests: Sequence[Sequence[npt.NDArray[Any]]],
        *,
        since: Sequence[float],
        until: float,
    ) -> list[Arrays | Exception | None]:
        """As ``Model.run_together``, and counted."""
        started = time.perf_counter()
        found = self.model.run_together(signature, requests, since=since, until=until)
        good = sum(isinstance(outputs, Mapping) for outputs in found)
        if good:
            self.metrics.ran("Predict", time.perf_counter() - started, count=good)
        return found

    def predict(self, inputs: Mapping[str, npt.ArrayLike], *, signature: str, api: str = "Predict") -> Arrays:
        """As ``Model.predict``, and counted under the API's name."""
        started = time.perf_counter()
        outputs = self.model.predict(inputs, signature=signature)
        self.metrics.ran(api, time.perf_counter() - started)
        return outputs


class Loader:
    """Loads and unloads versions. Thread-safe."""

    def __init__(self, config: ServeConfig, metrics: LoadMetrics | None) -> None:
        self._config = config
        self._metrics = metrics
        self._copies = Copies()

    def load(self, config: ModelConfig, number: int, place: str) -> Served:
        """Load a version and warm it up.

        Args:
            config: The model's.
            number: The version.
            place: Its directory, on this machine or in a bucket.

        Raises:
            LadingError: it cannot be served; says why. Nothing of it is left.
        """
        started = time.perf_counter()
        remote = storage.is_remote(place)
        directory = self._copies.fetch(place, number) if remote else storage.local_path(place)
        try:
            check_links(directory, directory if remote else storage.local_path(config.base_path))
            copied = time.perf_counter()
            self._verify(directory)
            verified = time.perf_counter()
            model = load_model(
                directory,
                engine=self._config.engine,
                threads=self._config.threads,
                timeout_seconds=self._config.timeout_seconds,
                wrap=self._batching(config.name),
            )
            loaded = time.perf_counter()
            try:
                ran = warm_up(model) if self._config.warm_up else 0
            except BaseException:
                model.close()
                raise
        except BaseException:
            if remote:
                self._copies.remove(directory)
            raise
        ended = time.perf_counter()
        log(
            "model loaded",
            model=config.name,
            version=number,
            path=place,
            engine=model.engine,
            engine_note=model.engine_note or None,
            copy_seconds=round(copied - started, 3) if remote else None,
            verify_seconds=round(verified - copied, 3) if self._config.verify_models else None,
            load_seconds=round(loaded - verified, 3),
            warm_up_seconds=round(ended - loaded, 3) if ran else None,
        )
        if self._metrics is None:
            return Served(config.name, number, model, place)
        self._metrics.loaded(model=config.name, version=number, seconds=ended - started)
        if ran:
            self._metrics.tensorflow.warmed_up(place, records=ran, seconds=ended - loaded)
        return Served(config.name, number, model, place, self._metrics.tensorflow.of(config.name))

    def _verify(self, directory: Path) -> None:
        """Compare the files with the image's digests, if that is wanted."""
        if self._config.verify_models and self._config.model_digests is not None:
            from lading.serving.integrity import check_model  # here: it costs time at the start

            check_model(directory, self._config.model_digests)

    def _batching(self, name: str) -> Callable[[Engine], Engine] | None:
        """What puts the requests of a model together, if that is wanted."""
        batching, metrics = self._config.batching, self._metrics
        if batching is None:
            return None

        def on_batch(rows: int, queued_seconds: float) -> None:
            if metrics is not None:
                metrics.batch(model=name, rows=rows, queued_seconds=queued_seconds)

        monitor = None if metrics is None else metrics.tensorflow.batching
        return lambda engine: BatchingEngine(engine, batching, on_batch=on_batch, monitor=monitor)

    def unload(self, served: Served) -> None:
        """Free a version once its running predictions have ended."""
        served.model.close()
        if storage.is_remote(served.place):
            self._copies.remove(served.model.path)
        log("model unloaded", model=served.name, version=served.version, path=served.place)

    def close(self) -> None:
        """Delete the copies of models."""
        self._copies.close()
