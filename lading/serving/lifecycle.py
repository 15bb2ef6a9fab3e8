"""The life of a serving process: load, listen, serve, drain, end.

The port is opened after the models are loaded and warm: Knative and Cloud Run send requests as soon as it is open
(their default probe is TCP), so an open port means that answers are right. It is reserved before, so that a port in
use is known at once.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from lading.serving.config import ServeConfig
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.port import reserve
from lading.serving.records import Records
from lading.serving.signals import SIGNALS

_LOADED = "loaded"


def serve(config: ServeConfig, told: "SimpleQueue[str]") -> None:
    """As ``lading.serving.run`` says.

    Args:
        config: The settings.
        told: Where signals say that the process is to end.
    """
    started = time.perf_counter()
    log("starting", models={model.name: model.base_path for model in config.models}, engine=config.engine)
    with contextlib.ExitStack() as ending:
        reserved = None
        if config.port is not None:
            reserved = ending.enter_context(reserve(config.host, config.port))
        records = Records(config)
        ending.callback(records.close)
        models = Models(config, metrics=records.metrics)
        try:
            loading = _in_background(models.load, told)
            # Here and not above: TensorFlow loads without the GIL, so the web server is imported meanwhile.
            import asyncio

            from lading.serving import server

            if told.get() == _LOADED:
                loading.result()
                signals = server.Signals(SIGNALS, came=lambda: not told.empty())
                served = server.serve_app(models, config, reserved, records=records, signals=signals, started=started)
                asyncio.run(served)
        finally:
            # The event loop took its handlers away. The process ends already: a second signal changes nothing.
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            all_ended = models.close()
    log("stopped", seconds=round(time.perf_counter() - started, 3))
    if not all_ended:
        # Threads that load a model cannot be interrupted. The interpreter would wait for them, or take itself apart
        # while they run, which ends in a deadlock.
        os._exit(0)


def _in_background(load: Callable[[], None], told: "SimpleQueue[str]") -> "Future[None]":
    """Load the models in a thread that does not keep the process from ending."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            load()
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)
        told.put(_LOADED)

    threading.Thread(target=run, name="load-models", daemon=True).start()
    return future
