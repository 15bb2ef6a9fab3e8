"""The serving process: TensorFlow Serving's REST API in front of ``lading.predict``."""

import sys
import threading
from contextlib import suppress

from lading.errors import EngineError
from lading.serving.config import ServeConfig
from lading.serving.signals import catch_signals

__all__ = ["ServeConfig", "run"]


def run(config: ServeConfig) -> None:
    """Load the models, serve them until SIGTERM or SIGINT, then let running requests end.

    Raises:
        EngineError: a model cannot be loaded or its warm-up failed, or the port cannot be used: the process is to end
            with exit code 3.
    """
    told = catch_signals()
    # The thread that loads the models needs the GIL for moments only, and shall not wait 5 ms for each while others are
    # imported. ``server`` sets it back.
    sys.setswitchinterval(0.0003)
    if config.engine == "tensorflow":
        threading.Thread(target=_preload, name="preload-engine").start()
    from lading.serving.lifecycle import serve  # meanwhile

    serve(config, told)


def _preload() -> None:
    from lading.predict.engines.tensorflow_c import preload

    with suppress(EngineError):  # the first model meets it again, and says so
        preload()
