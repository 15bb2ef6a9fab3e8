"""Runs as callers see them: JSON, and server-sent events."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import orjson

from lading.batch.progress import Progress
from lading.batch.service.runs import Run, message

EVERY_SECONDS = 1.0
"""So often progress is told."""
KEEP_ALIVE_SECONDS = 15.0
EVENTS = "text/event-stream"


def view(run: Run, *, whole: bool = True) -> dict[str, Any]:
    """A run as JSON.

    Args:
        run: Which.
        whole: With its report; lists leave it out.
    """
    found: dict[str, Any] = {
        "id": run.id,
        "state": run.state.value,
        "request": run.request.to_dict(),
        "created": _time(run.created),
        "started": _time(run.started),
        "ended": _time(run.ended),
        "memory_bytes": {"run": run.bytes, "model": run.model.bytes},
        "progress": _progress(run.progress) if run.progress is not None else None,
    }
    if run.is_cancelled and not run.state.is_final:
        found["cancelling"] = True
    if run.error is not None:
        found["error"] = message(run.error)
    if whole and run.report is not None:
        found["report"] = dataclasses.asdict(run.report)
    return found


async def events(
    run: Run, *, every_seconds: float = EVERY_SECONDS, keep_alive_seconds: float = KEEP_ALIVE_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The events of a run, until its end: ``progress`` when something changed, and ``end`` with the report.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.

    Args:
        run: Which.
        every_seconds: How often it is looked at.
        keep_alive_seconds: After so long without news a comment is sent, so that proxies keep the connection.
    """
    done = asyncio.wrap_future(run.done)
    yield b"retry: 2000\n\n"
    last, told = b"", time.monotonic()
    while not run.state.is_final:
        now = orjson.dumps(view(run))
        if now != last:
            yield b"event: progress\ndata: " + now + b"\n\n"
            last, told = now, time.monotonic()
        elif time.monotonic() - told >= keep_alive_seconds:
            yield b": waiting\n\n"
            told = time.monotonic()
        await asyncio.wait([done], timeout=every_seconds)
    yield b"event: end\ndata: " + orjson.dumps(view(run)) + b"\n\n"


def _progress(progress: Progress) -> dict[str, Any]:
    found = dataclasses.asdict(progress)
    return {"share": round(progress.share, 4), **found}


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at is not None else None
