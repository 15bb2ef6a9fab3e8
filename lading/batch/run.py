"""Runs batch prediction: files in, predictions, errors and a report out; goes on where an earlier run ended."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from lading import buckets
from lading.batch.done import Done
from lading.batch.files import Outputs, find_by_prefix, find_inputs, open_outputs
from lading.batch.formats.base import InputFormat, OutputFormat, open_input, open_output
from lading.batch.job import BatchJob
from lading.batch.limit import Limit
from lading.batch.model import choose_signature
from lading.batch.naming import format_of, output_names
from lading.batch.pipeline import Pipeline
from lading.batch.plan import MANIFEST, NOTES, PARTS, REPORT, Plan, PlannedFile
from lading.batch.predictor import Predicted, Predictor
from lading.batch.progress import Meter, Progress
from lading.batch.reading import Piece, pieces
from lading.batch.size import choose_batch_size
from lading.batch.stop import Stop, Stopped
from lading.batch.verdict import make_report
from lading.batch.writing import Writer
from lading.batches import BatchReport
from lading.errors import InvalidInput
from lading.predict.cpus import available_cpus
from lading.predict.model import Model
from lading.predict.signature import Signature
from lading.storage import is_remote, join, local_path
from lading.values import to_json

_LOOK_SECONDS = 0.5


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
        stop: Ends the run early, at the next block; what was recorded stays, and the next run goes on from it.

    Returns:
        The verdict: how many rows, how many bad, and where everything lies.

    Raises:
        InvalidInput: options that contradict each other or the model; or an unfinished run with others is there.
        NotFound: no input.
        RunInProgress: another run works on this output.
        Stopped: ``stop`` was set before everything was done.
        AccessDenied, StorageError, EngineError: the storage or the model failed for longer than it was tried again.
    """
    with buckets.kept():
        limit = Limit.parse(job.max_bad_rows)
        signature = choose_signature(model, job.options)
        plan = make_plan(job, signature, model=(model_digest, model.engine))
        options = replace(job.options, batch_size=plan.batch_size)
        output = open_output(signature, options)
        formats = {planned.format: open_input(planned.format, signature, options) for planned in plan.files}
        outputs = open_outputs(job.output)
        outputs.claim(f"{os.getpid()}@{socket.gethostname()}")
        try:
            begin_run(plan, outputs, restart=job.restart, supersede=job.supersede)
            run = _Run(plan, outputs, output, limit=limit, told=told, stop=stop or Stop())
            run.work(Predictor(model, signature, output), formats, threads or available_cpus() + 1)
            report = run.report(job.errors)
            end_run(job, outputs, run.done, report)
            return report
        finally:
            outputs.release()


def make_plan(job: BatchJob, signature: Signature, *, model: tuple[str, str]) -> Plan:
    """What a job comes to: its files as they are now, and where their predictions go.

    Args:
        job: What is to be done.
        signature: Of the model, as ``choose_signature`` finds it.
        model: Digest and engine.

    Raises:
        InvalidInput: the options contradict the signature.
        NotFound, AccessDenied, StorageError: there is no input, or it cannot be listed.
    """
    batch_size = choose_batch_size(signature, job.options.batch_size)
    found = (find_by_prefix if job.by_prefix else find_inputs)(job.inputs, without=job.output)
    suffix = open_output(signature, job.options).suffix
    names = output_names([file.name for file in found], job.options, suffix)
    files = tuple(
        PlannedFile(file, format_of(file.name, job.options), name) for file, name in zip(found, names, strict=True)
    )
    _check_apart(files, job.output)
    digest, engine = model
    return Plan(files, job.options, batch_size, signature.name, digest, engine)


def _check_apart(files: tuple[PlannedFile, ...], output: str) -> None:
    """Refuse to write over an input."""
    root = output if is_remote(output) else str(local_path(output).absolute())
    written = {join(root, planned.output) for planned in files}
    for planned in files:
        if planned.file.uri in written:
            raise InvalidInput(
                f"the predictions would replace the input {planned.file.uri}: choose another output than {output}"
            )


def begin_run(plan: Plan, outputs: Outputs, *, restart: bool, supersede: bool = False) -> None:
    """Write the plan down, or see that it is the one that was begun.

    Raises:
        InvalidInput: an unfinished run with another plan is there.
        AccessDenied, StorageError: the output cannot be read or written.
    """
    difference = plan.difference(outputs)
    if difference == "" and not restart:
        return
    if difference and not restart and not supersede and outputs.read(REPORT) is None:
        raise InvalidInput(
            f"{outputs.uri} holds an unfinished run that differs: {difference}. Finish it as it was begun, choose "
            "another output, or start afresh with --restart"
        )
    _forget(outputs)
    plan.store(outputs)


def end_run(job: BatchJob, outputs: Outputs, done: Done, report: BatchReport) -> None:
    """Note that a run is complete, or forget it if the job says so; one that is not complete can be gone on with.

    Raises:
        AccessDenied, StorageError: the output cannot be written.
    """
    if not job.keep_notes:
        _forget(outputs)
    elif all(file.is_whole for file in done.files):
        outputs.remove(outputs.names(PARTS))  # of files that were whole when a run was killed before it removed these
        outputs.write(REPORT, to_json(report).encode())


def see_outputs(done: Done, plan: Plan, outputs: Outputs) -> None:
    """Have files done again whose predictions were removed meanwhile.

    Raises:
        AccessDenied, StorageError: the output cannot be listed, or its journal not be written.
    """
    if any(file.is_whole for file in done.files):
        there = set(outputs.names(""))
        for index, file in enumerate(done.files):
            if file.is_whole and plan.files[index].output not in there:
                done.again(index)


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
        self.done = Done(outputs, plan)
        see_outputs(self.done, plan, outputs)
        self._writer = Writer(plan, self.done, outputs, format)
        self._meter = Meter(plan, self.done)
        self._rows, self._bad = self.done.rows, self.done.bad
        self._ended_early = False
        self._started = time.monotonic()

    def work(self, predictor: Predictor, formats: dict[str, InputFormat], threads: int) -> None:
        """Predict what is left."""

        def compute(piece: Piece) -> Predicted | None:
            if piece.block is None:
                return None
            return predictor.run(piece.block, formats[self._plan.files[piece.file].format])

        pipeline = Pipeline(pieces(self._plan, self.done, formats), compute, self._take, threads=threads)
        self._end = pipeline.stop
        try:
            pipeline.run(self._look, seconds=_LOOK_SECONDS)
            if self._stop.asked and not self._ended_early and not self._meter.is_done:
                raise Stopped(f"the run was ended before it was done; run it again to go on ({self._outputs.uri})")
            self._writer.finish()
        finally:
            self._writer.close()
        self._told(self._meter.progress())

    def report(self, errors: str) -> BatchReport:
        """The verdict; ``errors`` is the URI of the errors file, empty for the usual one."""
        seconds = time.monotonic() - self._started
        report = make_report(
            self._plan, self.done, self._outputs, self._limit, failed=self._writer.failed, errors=errors
        )
        speed = self._meter.rows / seconds if seconds else 0.0
        report = replace(report, seconds=seconds, rows_per_second=speed, new_rows=self._meter.rows)
        if not self._ended_early:
            return report
        # What was read of the shard that was not finished counts for the verdict, and is read again by the next run.
        check = self._limit.check(self._bad, self._rows, ended_early=True)
        return replace(report, passed=False, checks=(check, *report.checks[1:]), rows=self._rows, bad_rows=self._bad)

    def _take(self, piece: Piece, predicted: Predicted | None) -> None:
        if self._stop.asked:
            self._end()
            return
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
            self._end()  # even if the storage gives no next block
        self._told(self._meter.progress())
