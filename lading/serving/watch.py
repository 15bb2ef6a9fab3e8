"""Looks at base paths and at the configuration file while the server runs."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from lading.errors import EngineError, LadingError
from lading.serving.config import ModelConfig
from lading.serving.log import log

Task = Callable[[], None]


class Reloadable(Protocol):
    """What takes a new set of models."""

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models instead."""


class Watch:
    """A thread that calls each task every so many seconds, until ``stopped`` is set."""

    def __init__(self, tasks: Sequence[tuple[float, Task]], stopped: threading.Event) -> None:
        self._tasks = tasks
        self._stopped = stopped

    def start(self) -> None:
        """Start the thread, if there is anything to do. It does not keep the process from ending."""
        if self._tasks:
            threading.Thread(target=self._run, name="watch-models", daemon=True).start()

    def _run(self) -> None:
        now = time.monotonic()
        due = [now + seconds for seconds, _ in self._tasks]
        while not self._stopped.wait(max(0.0, min(due) - time.monotonic())):
            for index, (seconds, task) in enumerate(self._tasks):
                if time.monotonic() >= due[index]:
                    self._call(task)
                    due[index] = time.monotonic() + seconds

    def _call(self, task: Task) -> None:
        try:
            task()
        except Exception as error:
            # The thread must outlive what it does not expect, or the server would miss new models without a word.
            log("watching failed", severity="ERROR", error=repr(error))


class ConfigFile:
    """The file that names the models (``--model_config_file``)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._applied: bytes | None = None
        self._said = ""

    def read(self) -> tuple[ModelConfig, ...]:
        """The models that it names now.

        Raises:
            InvalidInput: it cannot be read, or is no configuration that can be served.
        """
        # Here, because it brings protobuf's messages of TensorFlow Serving along.
        from lading.serving.model_config import parse_model_config, read_file

        content = read_file(self._path)
        configs = parse_model_config(content, source=str(self._path))
        self._applied = content
        return configs

    def look(self, models: Reloadable) -> None:
        """Have the models of the file served, if it has changed.

        A file that cannot be read, or is refused, is logged once; what is served stays, and the file is tried again.
        """
        applied = self._applied
        try:
            configs = self.read()
            if self._applied != applied:
                models.reload(configs)
            self._said = ""
        except EngineError as error:  # it counts from now on; the models that failed are tried again by themselves
            log("model configuration incomplete", severity="ERROR", path=str(self._path), error=str(error))
        except LadingError as error:
            self._applied = applied
            if str(error) != self._said:
                log("model configuration refused", severity="ERROR", path=str(self._path), error=str(error))
            self._said = str(error)
