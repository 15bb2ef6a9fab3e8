"""Puts versions of models where a server finds them, and asks it; for tests of the model manager."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.models import Models


def put(source: Path, base: Path, name: str) -> Path:
    """Copy a version into a base path, so that it appears whole."""
    scratch = base / f".{name}.part"
    shutil.copytree(source, scratch)
    return scratch.rename(base / name)


def settings(*models: ModelConfig, **fields: Any) -> ServeConfig:
    return ServeConfig(models=models, **{"poll_seconds": 0.02, **fields})


@contextmanager
def serving(config: ServeConfig, *, watch: bool = False, **arguments: Any) -> Iterator[Models]:
    """Loaded models, which are closed at the end."""
    models = Models(config, **arguments)
    try:
        models.load()
        if watch:
            models.start_watching()
        yield models
    finally:
        models.close()


def factor(models: Models, name: str = "m", version: int | None = None, label: str | None = None) -> float:
    """What the model times by: the version that answered."""
    x = np.array([1.0], np.float32)
    answer = models.use(lambda served: served.model.predict({"x": x}), name, version, label)
    return float(answer["y"][0])


def states(models: Models, name: str = "m") -> dict[int, str]:
    return {status.version: status.state for status in models.statuses(name)}


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of the log since it was last asked for; TensorFlow's own are left out."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


class Asking:
    """Asks a model all the time, in threads of its own, and keeps what it answered and what went wrong."""

    def __init__(self, models: Models, threads: int = 2) -> None:
        self.answers: set[float] = set()
        self.failures: list[BaseException] = []
        self.asked = 0
        self._models, self._stopped = models, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.add(factor(self._models))
                self.asked += 1
            except Exception as error:
                self.failures.append(error)

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
