"""The same batch prediction as an Apache Beam pipeline, for what outgrows one machine.

``lading batch … --beam='--runner=DataflowRunner …'``

Plan, source, engine, sink and notes are those of ``lading.batch.run``; Beam spreads the shards over workers and tries
them again. A shard is predicted by one worker, in the same blocks, so the outputs are those of a local run, and each
goes on where the other was ended. Files that are compressed cannot be entered in the middle: one worker takes all
shards of such a file.

Each worker needs lading and the engine: on Dataflow by ``--sdk_container_image``. Needs an environment of its own
(``pip install 'lading[beam]'``): apache-beam[gcp] wants an older google-cloud-aiplatform than lading's other parts.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from lading.batch.beam_runner import empty_pipeline, see_places, wait_for
from lading.batch.done import Done, Shard
from lading.batch.files import Outputs, open_outputs
from lading.batch.formats.base import InputFormat, OutputFormat, open_input, open_output
from lading.batch.job import BatchJob
from lading.batch.limit import Limit
from lading.batch.model import OpenModel, choose_signature, open_model
from lading.batch.parts import Part, publish
from lading.batch.plan import Plan
from lading.batch.predictor import Predictor
from lading.batch.reading import Piece, file_pieces
from lading.batch.run import begin_run, end_run, make_plan, see_outputs
from lading.batch.spread import (
    Left,
    Stretch,
    Told,
    Work,
    attempt,
    check_attempt,
    forget_shards,
    left_files,
    missing,
    store_file,
    store_shard,
    stored_shard,
    take_files,
)
from lading.batch.verdict import make_report
from lading.batches import BatchReport
from lading.errors import InvalidData, InvalidInput, LadingError
from lading.predict.signature import Signature

_ROWS, _BAD = Metrics.counter("lading", "rows"), Metrics.counter("lading", "bad_rows")
"""What the runner's pages show while it is at work."""


class _Loaded:
    """The plan and the model in a worker's process, shared by its threads."""

    def __init__(self, work: Work) -> None:
        self.outputs: Outputs = open_outputs(work.output)
        check_attempt(self.outputs, work.attempt)
        self.plan = plan = Plan.load(self.outputs)
        self._stack = contextlib.ExitStack()
        opened: OpenModel = self._stack.enter_context(open_model(work.model, environ=os.environ, engine=work.engine))
        if opened.digest != plan.model:
            raise InvalidInput(
                f"the model {work.model} is another one on this worker ({opened.digest}) than where the run began "
                f"({plan.model}): give one that does not change, as an image by digest"
            )
        options = replace(plan.options, batch_size=plan.batch_size)
        signature: Signature = opened.model.signatures[plan.signature]
        self.output: OutputFormat = open_output(signature, options)
        self.predictor = Predictor(opened.model, signature, self.output)
        self.formats: dict[str, InputFormat] = {
            format: open_input(format, signature, options) for format in {f.format for f in plan.files}
        }

    def pieces(self, file: int, start: int, row: int) -> Iterator[Piece]:
        """The blocks of a file from a shard on; if it cannot be read, the last piece says why."""
        try:
            yield from file_pieces(self.plan, file, self.formats[self.plan.files[file].format], start=start, row=row)
        except (InvalidData, InvalidInput) as error:
            yield Piece(file, None, problem=str(error))


class _WithModel(beam.DoFn):  # type: ignore[misc]
    """Whatever needs the model."""

    def __init__(self, work: Work, shared: Shared) -> None:
        self._work, self._shared = work, shared

    def setup(self) -> None:
        self._loaded: _Loaded = self._shared.acquire(lambda: _Loaded(self._work), tag=self._work.attempt)


class Split(_WithModel):
    """Finds where the shards of a file begin, without decoding a row."""

    def process(self, left: Left) -> Iterator[Stretch]:
        """The stretches of a file."""
        plan, file = self._loaded.plan, left.file
        before = self._work.before(file)
        number, start, row = before.shards, before.end, before.next_row
        if plan.files[file].file.name.endswith(".gz"):
            yield Stretch(file, number, start, row, 0, left.kept)
            return
        for piece in self._loaded.pieces(file, start, row):
            if piece.block is not None and piece.ends_shard:
                yield Stretch(file, number, start, row, 1, (number,) if number in left.kept else ())
                number, start, row = number + 1, piece.block.end, piece.block.next_row
        # Whether the file ends here or cannot be read further is told by who predicts this one.
        yield Stretch(file, number, start, row, 0, ())


class Predict(_WithModel):
    """Predicts shards and writes their parts."""

    def process(self, stretch: Stretch) -> Iterator[tuple[int, Told]]:
        """What came of each shard, by file."""
        if stretch.shards and stretch.kept:
            yield stretch.file, self._kept(stretch.file, stretch.number)
            return
        yield from ((stretch.file, told) for told in self._shards(stretch))
        if not stretch.shards:
            # So that a file without rows is published, too.
            yield stretch.file, Told(-1, Shard())

    def _shards(self, stretch: Stretch) -> Iterator[Told]:
        """Predict them one after the other; a part that is not finished goes."""
        loaded, number = self._loaded, stretch.number
        planned = loaded.plan.files[stretch.file]
        format = loaded.formats[planned.format]
        with contextlib.ExitStack() as opened:
            part: Part | None = None
            for piece in loaded.pieces(stretch.file, stretch.start, stretch.row):
                if piece.problem:
                    yield Told(number, Shard(), piece.problem)
                if piece.block is None:
                    return
                if number not in stretch.kept:
                    if part is None:
                        part = Part(loaded.output, planned.file.uri, is_first=not number)
                        opened.callback(part.close)
                    part.add(piece.block, loaded.predictor.run(piece.block, format))
                if piece.ends_shard:
                    yield self._kept(stretch.file, number) if part is None else self._store(stretch, number, part)
                    opened.close()
                    number, part = number + 1, None
                    if number - stretch.number == stretch.shards:
                        return

    def _store(self, stretch: Stretch, number: int, part: Part) -> Told:
        outputs = self._loaded.outputs
        check_attempt(outputs, self._work.attempt)
        part.store(outputs, stretch.file, number)
        store_shard(outputs, stretch.file, number, part.shard)
        _ROWS.inc(part.shard.rows)
        _BAD.inc(part.shard.bad)
        return Told(number, part.shard)

    def _kept(self, file: int, number: int) -> Told:
        return Told(number, stored_shard(self._loaded.outputs, file, number))


class Publish(_WithModel):
    """Puts the parts of a file together."""

    def process(self, told: tuple[int, Iterable[Told]]) -> Iterator[int]:
        """The file, when its predictions are in their place."""
        file, outputs = told[0], self._loaded.outputs
        every = sorted((one for one in told[1] if one.number >= 0), key=lambda one: one.number)
        problem = next((one for one in every if one.problem), None)
        shards = [one for one in every if problem is None or one.number < problem.number]
        before = self._work.before(file)
        check_attempt(outputs, self._work.attempt)
        if problem is None:
            reasons = sum((one.shard.reasons for one in shards), before.reasons)
            so_far = replace(before, shards=before.shards + len(shards), reasons=reasons)
            publish(self._loaded.plan, outputs, self._loaded.output, file, so_far=so_far)
        store_file(outputs, file, first=before.shards, told=shards, problem=problem.problem if problem else "")
        yield file


def run_on_beam(
    job: BatchJob,
    model: str,
    *,
    engine: str,
    environ: Mapping[str, str],
    runner: list[str],
    counted: Callable[[int, int], None] = lambda rows, bad: None,
) -> BatchReport:
    """Predict every row of the input files, on Beam's runner.

    Args:
        job: What is to be done; places that every worker reaches.
        model: As ``lading.batch.model.open_model`` takes it; every worker fetches it.
        engine: What computes.
        environ: For the model, here.
        runner: The options of Beam: ``--runner=DataflowRunner`` and the like.
        counted: Gets rows and bad rows of the job so far, now and then and at its end, from other threads.

    Returns:
        The verdict, as ``run_batch`` gives it. ``--max-bad-rows`` is judged at the end.

    Raises:
        InvalidInput, NotFound, RunInProgress, AccessDenied, StorageError, EngineError: as ``run_batch``, here or on a
            worker; InvalidInput also for options that Beam refuses.
        LadingError: Beam's runner failed, or somebody cancelled its job.
    """
    limit, started = Limit.parse(job.max_bad_rows), time.monotonic()
    pipeline = empty_pipeline(runner)
    with open_model(model, environ=environ, engine=engine) as opened:
        signature = choose_signature(opened.model, job.options)
        plan = make_plan(job, signature, model=(opened.digest, opened.model.engine))
        for format in {planned.format for planned in plan.files}:
            open_input(format, signature, replace(job.options, batch_size=plan.batch_size))
    see_places(pipeline, (*(planned.file.uri for planned in plan.files), job.output, model))
    outputs = open_outputs(job.output)
    outputs.claim(f"{os.getpid()}@{socket.gethostname()}")
    try:
        begin_run(plan, outputs, restart=job.restart, supersede=job.supersede)
        done = Done(outputs, plan)
        see_outputs(done, plan, outputs)
        take_files(outputs, done)  # of an attempt whose end nobody saw
        rows = done.rows
        failed = _work(pipeline, plan, outputs, done, model=model, counted=counted)
        report = make_report(plan, done, outputs, limit, failed=failed, errors=job.errors)
        seconds, new = time.monotonic() - started, done.rows - rows
        report = replace(report, seconds=seconds, rows_per_second=new / seconds, new_rows=new)
        end_run(job, outputs, done, report)
        return report
    finally:
        outputs.release()


def _work(
    pipeline: beam.Pipeline,
    plan: Plan,
    outputs: Outputs,
    done: Done,
    *,
    model: str,
    counted: Callable[[int, int], None],
) -> dict[int, str]:
    """Predict what is left; the files that cannot be read to their end, and why."""
    left = left_files(outputs, done)
    if not left:
        return {}
    begun = {index: file for index, file in enumerate(done.files) if file.shards and not file.is_whole}
    try:
        with attempt(outputs) as name:
            _fill(pipeline, left, Work(name, model, plan.engine, outputs.uri, begun))
            wait_for(pipeline, outputs.uri, counted)
    except BaseException:
        with contextlib.suppress(LadingError):  # else the next attempt does
            take_files(outputs, done)
        raise
    failed = take_files(outputs, done)
    missing(done, failed)
    forget_shards(outputs, done)
    return failed


def _fill(pipeline: beam.Pipeline, left: list[Left], work: Work) -> None:
    shared = Shared()
    _ = (
        pipeline
        | "files" >> beam.Create(left)
        | "split" >> beam.ParDo(Split(work, shared))
        | "spread" >> beam.Reshuffle()
        | "predict" >> beam.ParDo(Predict(work, shared))
        | "by file" >> beam.GroupByKey()
        | "publish" >> beam.ParDo(Publish(work, shared))
    )
