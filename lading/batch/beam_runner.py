"""Beam's runners: their options, the wait for their end, and what they say when they fail."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from lading.errors import (
    AccessDenied,
    EngineError,
    InvalidData,
    InvalidInput,
    InvalidModel,
    InvalidReference,
    LadingError,
    NotFound,
    RunInProgress,
    StorageError,
)

_CHECKED = {None, "DirectRunner", "DataflowRunner", "PrismRunner"}
"""Runners whose options Beam knows; others hand unknown ones on."""
_RAISED = re.compile(r"^(?:lading\.errors\.)(\w+): (.+)$", re.MULTILINE)
_WHERE = re.compile(r" \[while running [^\]]*\]")
_WITH_STATUS = {"AccessDenied": 403}
_KINDS = {
    kind.__name__: kind
    for kind in (
        EngineError,
        InvalidData,
        InvalidInput,
        InvalidModel,
        InvalidReference,
        NotFound,
        RunInProgress,
        StorageError,
    )
}
_LOOK_SECONDS = 10.0
_GO_ON = "What was finished is kept: the same command goes on"


def empty_pipeline(words: list[str]) -> beam.Pipeline:
    """A pipeline for a runner.

    Args:
        words: Its options, as Beam takes them.

    Raises:
        InvalidInput: one of them is none of Beam's, or the runner refuses them.
        LadingError: the runner cannot be had.
    """
    options = PipelineOptions(words)
    # Beam leaves out what it does not know, so that with a slip of the pen the job would run elsewhere.
    known = options.get_all_options(drop_default=True)
    unknown = options.get_all_options(drop_default=True, retain_unknown_options=True).keys() - known.keys()
    if unknown and options.view_as(StandardOptions).runner in _CHECKED:
        raise InvalidInput(f"--beam: Beam has no option {', '.join(f'--{name}' for name in sorted(unknown))}")
    try:
        return beam.Pipeline(options=options)
    except Exception as error:
        raise explained(error) from error


def see_places(pipeline: beam.Pipeline, uris: Iterable[str]) -> None:
    """See that what lies on this machine is not given to workers on others.

    Raises:
        InvalidInput: with Dataflow, something is not in a bucket.
    """
    if pipeline.options.view_as(StandardOptions).runner != "DataflowRunner":
        return
    here = next((uri for uri in uris if not uri.startswith("gs://") and "@sha256:" not in uri), None)
    if here is not None:
        raise InvalidInput(f"Dataflow's workers cannot reach {here}: inputs, output and model must be in a bucket")


def wait_for(pipeline: beam.Pipeline, output: str, counted: Callable[[int, int], None]) -> None:
    """Run a pipeline to its end; who interrupts it cancels the job, too.

    Args:
        pipeline: What is to be run.
        output: Of the run, for messages.
        counted: Gets the job's metrics ``rows`` and ``bad_rows`` every ten seconds, from another thread, where the
            runner tells them while it is at work, and at the end.

    Raises:
        InvalidInput: the runner refuses its options.
        LadingError: the job failed or was cancelled; what a worker raised is raised again, without its traceback.
    """
    try:
        result = pipeline.run()
        with _counting(result, counted):
            state = _waited(result)
    except LadingError:
        raise
    except Exception as error:
        raise explained(error) from error
    if state != PipelineState.DONE:
        raise LadingError(f"Beam's job on {output} ended as {state}. {_GO_ON}")


def _waited(result: Any) -> str:
    try:
        state: str = result.wait_until_finish()
    except (KeyboardInterrupt, SystemExit):
        # Whether or not this reaches the runner: the workers stop when the attempt is no longer noted in the output.
        with contextlib.suppress(Exception):
            result.cancel()
        raise
    return state


@contextlib.contextmanager
def _counting(result: Any, counted: Callable[[int, int], None]) -> Iterator[None]:
    """Tell the metrics now and then, and once when the block has ended well."""
    ended = threading.Event()

    def tell() -> None:
        try:
            counts = [_count(result, name) for name in ("rows", "bad_rows")]
        except Exception:  # a service that does not tell its metrics now: the job goes on without them
            return
        counted(*counts)

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            tell()

    looking = threading.Thread(target=look, name="beam-metrics", daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join(_LOOK_SECONDS)  # a request for metrics may hang
    tell()


def _count(result: Any, name: str) -> int:
    found = result.metrics().query(MetricsFilter().with_namespace("lading").with_name(name))["counters"]
    return sum(int(one.result or 0) for one in found)


def explained(error: Exception) -> LadingError:
    """A runner's failure in a sentence.

    Workers and services hand on a traceback as text; its last line that names an error of lading's is the cause.
    """
    text = str(error)
    raised = _RAISED.findall(text)
    if raised:
        kind, message = raised[-1][0], _WHERE.sub("", raised[-1][1]).strip()
        if kind in _WITH_STATUS:
            return AccessDenied(message, status=_WITH_STATUS[kind])
        return _KINDS.get(kind, LadingError)(message)
    if isinstance(error, ValueError):
        return InvalidInput(f"--beam: {_joined(text)}")
    if "No module named 'lading" in text:
        return LadingError(
            "the workers have no lading: give an image that has it, and Beam, as --sdk_container_image (docs/batch.md)"
        )
    status = getattr(error, "code", None)
    if status in (401, 403):
        return AccessDenied(f"Beam's runner was refused: {_joined(text)}", status=int(status))
    return LadingError(f"Beam's runner failed: {_last_line(text) or type(error).__name__}. {_GO_ON}")


def _last_line(text: str) -> str:
    """Of a traceback: what was raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", "None")]
    return _WHERE.sub("", lines[-1]).removesuffix("Error:").rstrip(" ,.") if lines else ""


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())
