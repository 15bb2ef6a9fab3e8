"""The servers around the models: HTTP in this process's event loop, and gRPC beside or instead of it."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lading.errors import EngineError, LadingError
from lading.predict.cpus import available_cpus
from lading.predict.memory import reuse_freed_memory, unmap_library_pages
from lading.serving.app import App
from lading.serving.config import ServeConfig
from lading.serving.gate import Gate
from lading.serving.listener import Listener
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.process import allow_open_files
from lading.serving.records import Records

if TYPE_CHECKING:
    from lading.serving.grpc import GrpcServer

BATCHING_THREADS = 64
"""With batching a request holds a thread while it waits for others."""
LEAVE_SECONDS = 0.2
"""After the signal connections are served on for so long, each answer with ``connection: close``. A client that sends
one request after the other leaves by that; if its connection were closed at once, between two requests, it could not
tell whether the next was read."""


GC_THRESHOLDS = (50_000, 50, 1000)
"""A body of a million small lists is a million objects at once. By Python's own thresholds the collector looks at all
of them again and again, for up to a second in which no other thread runs, health included; they hold no cycles."""
SWITCH_SECONDS = 0.005
"""Python's own, of which the start takes less."""
MOST_CONNECTIONS = 8192
"""Further ones wait to be accepted: also health checks. Without a request a connection costs some 20 kB."""
FILES_KEPT = 128
"""So many files are left for other things than connections over HTTP."""


class Signals:
    """What the signals that end the process ask for.

    Args:
        numbers: The signals.
        came: Whether one came before they were handled here.
    """

    def __init__(self, numbers: Sequence[int], *, came: Callable[[], bool]) -> None:
        self._numbers, self._came = numbers, came
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()

    def handle(self) -> None:
        """Handle them in the event loop that runs."""
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._on, number)
        if self._came():
            self.stop.set()

    def _on(self, number: int) -> None:
        # Platforms may repeat SIGTERM; who types Ctrl-C again does not want to wait.
        if number == signal.SIGINT and self.stop.is_set():
            self.hurry.set()
        self.stop.set()


async def serve_app(
    models: Models,
    config: ServeConfig,
    reserved: socket.socket | None,
    *,
    records: Records,
    signals: Signals,
    started: float,
) -> None:
    """Serve until a signal, then drain.

    Args:
        models: Loaded.
        config: The settings.
        reserved: Bound to the address of HTTP, not listening; None for no HTTP.
        records: Where requests are written down.
        signals: Those that end the process; a second SIGINT breaks the draining off.
        started: ``time.perf_counter()`` at the start of the process's work.

    Raises:
        EngineError: a port cannot be used.
    """
    loop = asyncio.get_running_loop()
    signals.handle()
    reuse_freed_memory()
    gate = Gate(_threads(config), config.max_queue, config.max_held_bytes)
    records.watch(models, gate)
    http = _Http(models, config, gate, records) if reserved is not None else None
    if http is not None and reserved is not None:
        http.start(reserved, started)
    grpc = await loop.run_in_executor(None, _start_grpc, models, config, records, gate)
    await loop.run_in_executor(None, unmap_library_pages)
    models.start_watching()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()  # the command line turns it off: what imports make is no garbage
    sys.setswitchinterval(SWITCH_SECONDS)
    await signals.stop.wait()
    log("draining", requests=_running(http, gate), limit_seconds=config.drain_seconds)
    limit = loop.time() + config.drain_seconds
    ending = asyncio.gather(_stop_http(http, config.drain_seconds), _stop_grpc(grpc, config.drain_seconds))
    hurry = loop.create_task(signals.hurry.wait())
    await asyncio.wait((ending, hurry), timeout=config.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
    left = _running(http, gate)
    being_read = http is not None and http.is_serving()  # answers that were made and are not taken yet
    if ending.done() and not left and not being_read:
        ending.result()
        gate.close()
        return
    # Otherwise what is left are predictions whose requests were answered that their time was over.
    if loop.time() >= limit or (left and hurry.done()):
        log("requests abandoned", severity="WARNING", requests=left or 1)
    records.close()
    # A thread inside TensorFlow cannot be interrupted, and the interpreter would wait for it.
    os._exit(0)


def _threads(config: ServeConfig) -> int:
    if config.batching:
        return BATCHING_THREADS
    if config.engine == "litert":
        # As many as a model has interpreters: more would wait for those, and for each other.
        return max(2, config.threads or available_cpus())
    # Those that ask TensorFlow wait for its own threads; JSON is read meanwhile.
    return 2 * available_cpus()


def _running(http: "_Http | None", gate: Gate) -> int:
    """How many requests were accepted and are not answered yet."""
    # A request over HTTP that waits for the gate or runs is in both counts.
    return max(http.app.running if http else 0, gate.running + gate.queued)


class _Http:
    """The HTTP server."""

    def __init__(self, models: Models, config: ServeConfig, gate: Gate, records: Records) -> None:
        self.app = App(models, config, gate=gate, records=records)
        self._listener = Listener(
            self.app,
            said=config.said,
            most_connections=max(1, allow_open_files(MOST_CONNECTIONS + FILES_KEPT) - FILES_KEPT),
        )
        records.metrics.gauge(
            "lading_requests_in_flight", "Requests over HTTP that are being answered.", lambda: self.app.running
        )

    def start(self, reserved: socket.socket, started: float) -> None:
        host, port = reserved.getsockname()[:2]
        self._listener.start(reserved)
        log("listening", host=host, port=port, seconds=round(time.perf_counter() - started, 3))

    async def stop(self, seconds: float) -> None:
        """Close the port, and wait for running requests; at most so long."""
        leave = min(LEAVE_SECONDS, seconds)
        self._listener.leaving = True
        await asyncio.sleep(leave)
        self._listener.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listener.wait_empty(), seconds - leave)

    def is_serving(self) -> bool:
        """Whether connections are open."""
        return not self._listener.is_empty


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
        server = start_grpc(models, config, records, gate)
    except LadingError as error:
        if config.grpc_required:
            raise
        log("no gRPC", severity="WARNING", error=str(error))
        return None
    log("listening for gRPC", host=config.host, port=server.port)
    return server
