"""The life of a batch service: listen, run, and end without losing what was done."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import wait

from lading import buckets
from lading.batch.model import OpenModel, open_model
from lading.batch.run import run_batch
from lading.batch.service.app import App
from lading.batch.service.config import ServiceConfig
from lading.batch.service.models import Models
from lading.batch.service.runs import Run, Runs
from lading.batches import BatchReport
from lading.predict.memory import unmap_library_pages
from lading.serving.listener import Listener
from lading.serving.log import log
from lading.serving.port import reserve
from lading.serving.process import allow_open_files

LEAVE_SECONDS = 0.2
"""So long connections are served on after the runs have ended, each answer with ``connection: close``."""
MARGIN_SECONDS = 1.0
"""Of the grace period, for answers: runs that have not ended by then are answered for."""
MOST_CONNECTIONS = 1024
FILES_KEPT = 256
"""So many files are left for other things than connections over HTTP."""


def serve(config: ServiceConfig) -> None:
    """As ``lading.batch.service.run`` says."""
    started = time.perf_counter()
    # One client of Cloud Storage for all runs: making one, and its first connection, takes half a second.
    with contextlib.closing(reserve(config.host, config.port)) as reserved, buckets.kept():
        ended = asyncio.run(_serve(config, reserved))
    log("stopped", seconds=round(time.perf_counter() - started, 3))
    if not ended:
        # A thread inside of TensorFlow cannot be interrupted, and the interpreter would wait for it.
        os._exit(0)


async def _serve(config: ServiceConfig, reserved: socket.socket) -> bool:
    """Serve until a signal; whether every run has ended."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    models = Models(config.memory_bytes, lambda uri: _loaded(uri, config))

    def work(run: Run, opened: OpenModel) -> BatchReport:
        return run_batch(
            run.request.job,
            opened.model,
            opened.digest,
            threads=config.threads,
            told=lambda progress: runs.told(run, progress),
            stop=run.stop,
        )

    runs = Runs(models, work, max_runs=config.max_runs, max_queue=config.max_queue)
    app = App(config, runs, models)
    said = {"x-lading-revision": config.revision} if config.revision else {}
    most = max(1, allow_open_files(MOST_CONNECTIONS + FILES_KEPT) - FILES_KEPT)
    listener = Listener(app, said=said, most_connections=most)
    host, port = reserved.getsockname()[:2]
    listener.start(reserved)
    log("listening", host=host, port=port, memory_bytes=config.memory_bytes, max_runs=config.max_runs)
    await stop.wait()
    return await _leave(config, listener, app, runs=runs, models=models)


@contextlib.contextmanager
def _loaded(uri: str, config: ServiceConfig) -> Iterator[OpenModel]:
    with open_model(uri, environ=config.environ, engine=config.engine) as opened:
        unmap_library_pages()
        yield opened


async def _leave(config: ServiceConfig, listener: Listener, app: App, *, runs: Runs, models: Models) -> bool:
    """End runs at their next block, answer who waits for them, and close."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + config.drain_seconds
    working = runs.running
    log("draining", runs=len(working), limit_seconds=config.drain_seconds)
    app.leaving.set()
    listener.leaving = True
    runs.close()
    patience = max(0.0, config.drain_seconds - MARGIN_SECONDS)
    await loop.run_in_executor(None, lambda: wait([run.done for run in working], timeout=patience))
    late = [run for run in working if not run.done.done()]
    for run in late:
        runs.abandon(run)
    await asyncio.sleep(min(LEAVE_SECONDS, max(0.0, limit - loop.time())))
    listener.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listener.wait_empty(), max(0.0, limit - loop.time()))
    if late or not listener.is_empty:
        return False
    await loop.run_in_executor(None, models.close)
    return True
