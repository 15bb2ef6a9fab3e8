"""The servers around the models: HTTP by granian, embedded in this process's event loop, and gRPC beside or instead of
it.

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
from typing import TYPE_CHECKING, Any

from lading.errors import EngineError, LadingError
from lading.predict.cpus import available_cpus
from lading.predict.memory import unmap_library_pages
from lading.serving.config import ServeConfig
from lading.serving.gate import Gate
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.records import Records

if TYPE_CHECKING:
    from lading.serving.grpc import GrpcServer

BATCHING_THREADS = 64
"""With batching a request holds a thread while it waits for others."""


async def serve_app(
    models: Models,
    config: ServeConfig,
    reserved: socket.socket | None,
    *,
    records: Records,
    signals: Sequence[int],
    started: float,
) -> None:
    """Serve until a signal, then drain.

    Args:
        models: Loaded.
        config: The settings.
        reserved: Bound to the address of HTTP, not listening; None for no HTTP.
        records: Where requests are written down.
        signals: Those that end the process.
        started: ``time.perf_counter()`` at the start of the process's work.

    Raises:
        EngineError: a port cannot be used, or the web server ended without having been told to.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    # Twice as many threads as processors: TensorFlow releases the GIL, and JSON is read meanwhile.
    threads = BATCHING_THREADS if config.batching else 2 * available_cpus()
    gate = Gate(threads, config.max_queue, config.max_held_bytes)
    records.watch(models, gate)
    http = _Http(models, config, gate, records) if reserved is not None else None
    if http is not None and reserved is not None:
        await http.start(reserved, started)
    grpc = await loop.run_in_executor(None, _start_grpc, models, config, records, gate)
    await loop.run_in_executor(None, unmap_library_pages)
    models.start_watching()
    await _until_stopped(stop, http)
    running = http.app.running if http else 0
    log("draining", requests=running + gate.running + gate.queued, limit_seconds=config.drain_seconds)
    await asyncio.gather(_stop_http(http, config.drain_seconds), _stop_grpc(grpc, config.drain_seconds))
    if (http is not None and http.app.running) or gate.running:
        log("requests abandoned", severity="WARNING", requests=http.app.running if http else gate.running)
        records.close()
        # A thread inside TensorFlow cannot be interrupted, and the interpreter would wait for it.
        os._exit(0)
    gate.close()


class _Http:
    """The HTTP server."""

    def __init__(self, models: Models, config: ServeConfig, gate: Gate, records: Records) -> None:
        from lading.serving.app import App

        self.app = App(models, config, gate=gate, records=records)
        records.metrics.gauge(
            "lading_requests_in_flight", "Requests over HTTP that are being answered.", lambda: self.app.running
        )
        self.serving: asyncio.Task[None] | None = None
        self._server: Any = None

    async def start(self, reserved: socket.socket, started: float) -> None:
        from granian.constants import Interfaces
        from granian.server.embed import Server

        host, port = reserved.getsockname()[:2]
        self._server = Server(
            self.app,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            websockets=False,
            backlog=1024,
            log_enabled=False,
        )
        self.serving = asyncio.get_running_loop().create_task(self._server.serve())
        await _accepting(self.serving, host, port)
        log("listening", host=host, port=port, seconds=round(time.perf_counter() - started, 3))

    async def stop(self, seconds: float) -> None:
        """Close the port, and wait for running requests; at most so long."""
        self._server.stop()
        assert self.serving is not None
        await asyncio.wait((self.serving,), timeout=seconds)


async def _until_stopped(stop: asyncio.Event, http: _Http | None) -> None:
    stopping = asyncio.get_running_loop().create_task(stop.wait())
    if http is None or http.serving is None:
        await stopping
        return
    await asyncio.wait((http.serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if http.serving.done():
        stopping.cancel()
        raise EngineError("the web server ended unexpectedly") from http.serving.exception()


async def _stop_http(http: _Http | None, seconds: float) -> None:
    if http is not None:
        await http.stop(seconds)


async def _stop_grpc(server: "GrpcServer | None", seconds: float) -> None:
    if server is not None:
        await asyncio.get_running_loop().run_in_executor(None, server.stop, seconds)


def _start_grpc(models: Models, config: ServeConfig, records: Records, gate: Gate) -> "GrpcServer | None":
    """Start gRPC, after HTTP because importing it takes 0.1 s; None if it is off, or not asked for and not possible."""
    if config.grpc_port is None:
        return None
    try:
        try:
            from lading.serving.grpc import start_grpc
        except ImportError as error:
            raise EngineError("gRPC needs a library that is not installed: pip install 'lading[grpc]'") from error
        server = start_grpc(models, config, records.metrics, gate)
    except LadingError as error:
        if config.grpc_required:
            raise
        log("no gRPC", severity="WARNING", error=str(error))
        return None
    log("listening for gRPC", host=config.host, port=server.port)
    return server


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
