"""The models of a serving process: loaded, warmed up, and found by name and version."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lading.errors import EngineError, LadingError, ModelClosed, NotFound
from lading.predict import Model, load_model
from lading.predict.jsonvalues import to_inputs
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.log import log
from lading.values import GoldenRequest

GOLDEN = Path("assets.extra/lading/golden.jsonl")

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A version of a model that answers requests."""

    name: str
    version: int
    model: Model


@dataclass(frozen=True)
class VersionStatus:
    """Where a version is in its life. Source: tensorflow_serving/apis/get_model_status.proto."""

    version: int
    state: str
    """``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING`` or ``END``."""
    error_code: str = "OK"
    error_message: str = ""


class Models:
    """The models of a process. Thread-safe."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._served: dict[str, Served] = {}

    def load(self) -> None:
        """Load every model, and warm it up; returns when all are ready.

        Raises:
            EngineError: none can be served; names the model and the reason.
        """
        for model in self._config.models:
            try:
                self._served[model.name] = _load(model, engine=self._config.engine)
            except LadingError as error:
                self.close()
                raise EngineError(f"cannot serve the model {model.name}: {error}") from error

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Served:
        """The model of a name: the highest version, or the one of a number or label.

        Raises:
            NotFound: unknown model or version, with TensorFlow Serving's text.
            InvalidInstance: unknown label, with TensorFlow Serving's text.
        """
        served = self._served.get(name)
        if served is None or version not in (None, served.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise NotFound(f"Servable not found for request: {wanted}")
        return served

    def use(self, call: Callable[[Served], T], name: str, version: int | None = None, label: str | None = None) -> T:
        """What ``call`` gives for the model that ``find`` gives; again if that model is unloaded in the meantime."""
        try:
            return call(self.find(name, version, label))
        except ModelClosed:
            return call(self.find(name, version, label))

    def names(self) -> list[str]:
        """The models that are configured, in order."""
        return [model.name for model in self._config.models]

    def statuses(self, name: str, version: int | None = None, label: str | None = None) -> Sequence[VersionStatus]:
        """Every version of a model that is or was known, the highest first; or the one asked for.

        Raises:
            NotFound: unknown model or version, with TensorFlow Serving's text.
            InvalidInstance: unknown label.
        """
        served = self._served.get(name)
        if served is None or version not in (None, served.version):
            what = "any versions of" if version is None else f"version {version} of"
            raise NotFound(f"Could not find {what} model {name}")
        return [VersionStatus(served.version, "AVAILABLE")]

    def is_ready(self, name: str | None = None, version: int | None = None) -> bool:
        """Whether every model (or the one of the name and version) answers requests."""
        if name is not None:
            return name in self._served and version in (None, self._served[name].version)
        return all(model.name in self._served for model in self._config.models)

    def close(self) -> None:
        """Free every model once its running predictions have ended."""
        for served in self._served.values():
            served.model.close()


def _load(config: ModelConfig, *, engine: str) -> Served:
    started = time.perf_counter()
    model = load_model(config.base_path, engine=engine)
    loaded = time.perf_counter()
    warm = _warm_up(model)
    log(
        "model loaded",
        model=config.name,
        version=model.version,
        path=str(model.path),
        engine=engine,
        load_seconds=round(loaded - started, 3),
        warm_up_seconds=round(time.perf_counter() - loaded, 3) if warm else None,
    )
    return Served(config.name, model.version, model)


def _warm_up(model: Model) -> bool:
    """Run the first golden request that the model carries; False if it carries none."""
    file = model.path / GOLDEN
    if not file.is_file():
        return False
    golden = GoldenRequest.read_all(next((line for line in file.read_text().splitlines() if line.strip()), ""))
    for request in golden:
        signature = model.signatures.get(request.signature)
        if signature is None:
            raise EngineError(f'{file} names the signature "{request.signature}", which the model does not have')
        model.predict(to_inputs(request.request, signature), signature=request.signature)
    return bool(golden)
