"""Runs batch prediction: files in, predictions, errors and a report out; goes on where an earlier run ended."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lading.batch.done import Done
from lading.batch.errors import write_errors
from lading.batch.files import Outputs, find_inputs, open_outputs
from lading.batch.formats.base import InputFormat, OutputFormat, open_input, open_output
from lading.batch.limit import Limit
from lading.batch.model import choose_signature
from lading.batch.naming import format_of, output_names
from lading.batch.options import BatchOptions
from lading.batch.pipeline import Pipeline
from lading.batch.plan import MANIFEST, NOTES, REPORT, Plan, PlannedFile
from lading.batch.predictor import Predicted, Predictor
from lading.batch.progress import Meter, Progress
from lading.batch.reading import Piece, pieces
from lading.batch.size import choose_batch_size
from lading.batch.stop import Stop, Stopped
from lading.batch.writing import Writer
from lading.batches import MOST_LISTED, BatchReport
from lading.errors import InvalidInput
from lading.predict.cpus import available_cpus
from lading.predict.model import Model
from lading.predict.signature import Signature
from lading.values import Check, to_json

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class BatchJob:
    """What is to be done."""

    inputs: tuple[str, ...]
    """As ``lading.batch.files.find_inputs`` takes them."""
    output: str
    """A directory; its own notes are below ``_lading/`` there."""
    options: BatchOptions = field(default_factory=BatchOptions)
    max_bad_rows: str = "10%"
    """A count, or a share as ``1%``; with more bad rows the verdict is negative."""
    errors: str = ""
    """URI of the errors file; empty: ``_lading/errors.jsonl`` below the output."""
    restart: bool = False
    """Forget what an earlier run did here."""
    keep_notes: bool = True
    """Whether ``_lading/`` stays when everything is done. Without it the same job does all of its work again."""


def run_batch(
    job: BatchJob,
    model: Model,
    model_digest: str,
    *,
    threads: int | None = None,
    told: Callable[[Progress], None] = lambda _: None,
    stop: Stop | None = None,
) -> BatchReport:
    """Predict every row of the input files.

    A run that ended early is gone on with by the same job; so is one that was killed. A run that is complete does
    nothing when it is asked for again, unless the input, the model or the options are others: then it begins anew.

    Args:
        job: What is to be done.
        model: Loaded.
        model_digest: What identifies it; recorded, and a run goes on only with the same.
        threads: Blocks side by side; default: one for each processor, and one more.
        told: Gets the progress about twice a second, from the calling thread.
        stop: Ends the run early, at the next block; what was done is recorded and the next run goes on from it.

    Returns:
        The verdict: how many rows, how many bad, and where everything lies.

    Raises:
        InvalidInput: options that contradict each other or the model; or an unfinished run with others is there.
        NotFound: no input.
        RunInProgress: another run works on this output.
        Stopped: ``stop`` was set.
        AccessDenied, StorageError, EngineError: the storage or the model failed for longer than it was tried again.
    """
    limit = Limit.parse(job.max_bad_rows)
    signature = choose_signature(model, job.options)
    batch_size = choose_batch_size(signature, job.options.batch_size)
    output = open_output(signature, job.options)
    plan = _plan(job, output, signature=signature, batch_size=batch_size, model=(model_digest, model.engine))
    options = _with_size(job.options, batch_size)
    formats = {planned.format: open_input(planned.format, signature, options) for planned in plan.files}
    outputs = open_outputs(job.output)
    outputs.claim(f"{os.getpid()}@{socket.gethostname()}")
    try:
        _begin(plan, outputs, restart=job.restart)
        run = _Run(plan, outputs, output, limit=limit, told=told, stop=stop or Stop())
        run.work(Predictor(model, signature, output), formats, threads or available_cpus() + 1)
        report = run.report(job, model)
        if run.is_complete:
            if job.keep_notes:
                outputs.write(REPORT, to_json(report).encode())
            else:
                _forget(outputs)
        return report
    finally:
        outputs.release()


def _plan(
    job: BatchJob, output: OutputFormat, *, signature: Signature, batch_size: int, model: tuple[str, str]
) -> Plan:
    found = find_inputs(job.inputs, without=job.output)
    names = output_names([file.name for file in found], job.options, output.suffix)
    files = tuple(
        PlannedFile(file, format_of(file.name, job.options), name) for file, name in zip(found, names, strict=True)
    )
    digest, engine = model
    return Plan(files, job.options, batch_size, signature.name, digest, engine)


def _with_size(options: BatchOptions, batch_size: int) -> BatchOptions:
    from dataclasses import replace

    return replace(options, batch_size=batch_size)


def _begin(plan: Plan, outputs: Outputs, *, restart: bool) -> None:
    """Write the plan down, or see that it is the one that was begun."""
    difference = plan.difference(outputs)
    if difference == "" and not restart:
        return
    if difference and not restart and outputs.read(REPORT) is None:
        raise InvalidInput(
            f"{outputs.uri} holds an unfinished run that differs: {difference}. Finish it as it was begun, choose "
            "another output, or start afresh with --restart"
        )
    _forget(outputs)
    plan.store(outputs)


def _forget(outputs: Outputs) -> None:
    """Remove the notes of a run; the manifest first, as the rest means nothing without it."""
    outputs.remove([MANIFEST])
    outputs.remove([REPORT, *(name for name in outputs.names(NOTES) if not name.startswith(f"{NOTES}/lock"))])


class _Run:
    """An attempt at a run."""

    def __init__(
        self,
        plan: Plan,
        outputs: Outputs,
        format: OutputFormat,
        *,
        limit: Limit,
        told: Callable[[Progress], None],
        stop: Stop,
    ) -> None:
        self._plan, self._outputs, self._limit, self._told, self._stop = plan, outputs, limit, told, stop
        self._done = Done(outputs, plan)
        _see_outputs(self._done, plan, outputs)
        self._writer = Writer(plan, self._done, outputs, format)
        self._meter = Meter(plan, self._done)
        self._rows, self._bad = self._done.rows, self._done.bad
        self._ended_early = False
        self._started = time.monotonic()

    def work(self, predictor: Predictor, formats: dict[str, InputFormat], threads: int) -> None:
        """Predict what is left."""

        def compute(piece: Piece) -> Predicted | None:
            if piece.block is None:
                return None
            return predictor.run(piece.block, formats[self._plan.files[piece.file].format])

        pipeline = Pipeline(pieces(self._plan, self._done, formats), compute, self._take, threads=threads)
        self._end = pipeline.stop
        try:
            pipeline.run(self._look, seconds=_LOOK_SECONDS)
            self._writer.finish()
        finally:
            self._writer.close()
        self._told(self._meter.progress())

    @property
    def is_complete(self) -> bool:
        """Whether every file's predictions are in their place."""
        return all(file.is_whole for file in self._done.files)

    def report(self, job: BatchJob, model: Model) -> BatchReport:
        """The verdict."""
        plan, done = self._plan, self._done
        failed = {plan.files[index].file.uri: reason for index, reason in self._writer.failed.items()}
        rows = (self._bad, self._rows) if self._ended_early else (done.bad, done.rows)
        checks = (
            self._limit.check(*rows, ended_early=self._ended_early),
            Check("files", not failed, "every file can be read to its end", _failed_words(failed)),
        )
        seconds = time.monotonic() - self._started
        written = [planned.output for planned, file in zip(plan.files, done.files, strict=True) if file.is_whole]
        return BatchReport(
            passed=all(check.passed for check in checks),
            checks=checks,
            rows=rows[1],
            bad_rows=rows[0],
            files=len(plan.files),
            output=self._outputs.uri,
            outputs=tuple(f"{self._outputs.uri}/{name}" for name in written[:MOST_LISTED]),
            errors=write_errors(done, self._outputs, job.errors),
            reasons=dict(done.reasons().most_common(MOST_LISTED)),
            failed_files=failed,
            model=plan.model,
            engine=plan.engine,
            signature=plan.signature,
            batch_size=plan.batch_size,
            seconds=seconds,
            rows_per_second=self._meter.rows / seconds if seconds else 0.0,
            resumed=done.resumed,
        )

    def _take(self, piece: Piece, predicted: Predicted | None) -> None:
        self._writer.take(piece, predicted)
        self._meter.take(piece, predicted)
        if predicted is not None:
            self._rows += predicted.rows
            self._bad += len(predicted.bad)
            if self._limit.ends_run(self._bad, self._rows):
                self._ended_early = True
                self._end()

    def _look(self) -> None:
        if self._stop.asked:
            raise Stopped(f"the run was ended before it was done; run it again to go on ({self._outputs.uri})")
        self._told(self._meter.progress())


def _see_outputs(done: Done, plan: Plan, outputs: Outputs) -> None:
    """Do files again whose predictions were removed meanwhile."""
    if any(file.is_whole for file in done.files):
        there = set(outputs.names(""))
        for index, file in enumerate(done.files):
            if file.is_whole and plan.files[index].output not in there:
                done.again(index)


def _failed_words(failed: dict[str, str]) -> str:
    if not failed:
        return "all were"
    first = next(iter(failed.items()))
    return f"{len(failed)} could not: {first[0]}: {first[1]}" + (", …" if len(failed) > 1 else "")
