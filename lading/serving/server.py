"""The HTTP server around the application: granian, embedded in this process's event loop.

Why embedded: granian's usual server (MPServer) starts a second process that would import everything again, and
MTServer runs its workers in threads that cannot see signals. Embedded there is one process with one event loop:
models are loaded once, while the web server is being imported, and granian's own shutdown closes the port and idle
connections at once and lets running requests end.
"""

import asyncio
import os
import socket
import time
from collections.abc import Sequence

from granian.constants import Interfaces
from granian.server.embed import Server

from lading.errors import EngineError
from lading.predict.cpus import available_cpus
from lading.serving.app import App
from lading.serving.config import ServeConfig
from lading.serving.gate import Gate
from lading.serving.log import log
from lading.serving.metrics import Metrics
from lading.serving.models import Models


async def serve_app(
    models: Models, config: ServeConfig, reserved: socket.socket, *, signals: Sequence[int], started: float
) -> None:
    """Serve until a signal, then drain.

    Args:
        models: Loaded.
        config: The settings.
        reserved: Bound to the address, not listening.
        signals: Those that end the process.
        started: ``time.perf_counter()`` at the start of the process's work.

    Raises:
        EngineError: the web server ended without having been told to.
    """
    metrics = Metrics(models.names)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    # Twice as many threads as processors: TensorFlow releases the GIL, and JSON is read meanwhile.
    with Gate(2 * available_cpus(), config.max_queue, config.max_held_bytes) as gate:
        app = App(models, config, gate=gate, metrics=metrics)
        host, port = reserved.getsockname()[:2]
        server = Server(
            app, address=host, port=port, interface=Interfaces.RSGI, websockets=False, backlog=1024, log_enabled=False
        )
        serving = loop.create_task(server.serve())
        stopping = loop.create_task(stop.wait())
        await _accepting(serving, host, port)
        log("listening", host=host, port=port, seconds=round(time.perf_counter() - started, 3))
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            stopping.cancel()
            raise EngineError("the web server ended unexpectedly") from serving.exception()
        log("draining", requests=app.running, limit_seconds=config.drain_seconds)
        server.stop()
        await asyncio.wait((serving,), timeout=config.drain_seconds)
        if app.running:
            log("requests abandoned", severity="WARNING", requests=app.running)
            # A thread inside TensorFlow cannot be interrupted, and the interpreter would wait for it.
            os._exit(0)


async def _accepting(serving: "asyncio.Task[None]", host: str, port: int) -> None:
    """Return when the port accepts connections, or the server has ended."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.001)
        else:
            writer.close()
            return
