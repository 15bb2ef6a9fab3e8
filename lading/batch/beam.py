"""The same batch prediction as an Apache Beam pipeline, for what outgrows one machine.

``lading batch … --beam='--runner=DataflowRunner …'``

Plan, source, engine, sink and notes are those of ``lading.batch.run``; Beam spreads the shards over workers and tries
them again. A shard is predicted by one worker, in the same blocks, so the outputs are those of a local run. Files that
are compressed cannot be entered in the middle: one worker takes all shards of such a file.

Each worker needs lading and the engine: on Dataflow by ``--sdk_container_image``. Needs an environment of its own
(``pip install 'lading[beam]'``): apache-beam[gcp] wants an older google-cloud-aiplatform than lading's other parts.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from lading.batch.done import Done, FileDone, Shard
from lading.batch.files import open_outputs
from lading.batch.formats.base import InputFormat, OutputFormat, open_input, open_output
from lading.batch.job import BatchJob
from lading.batch.limit import Limit
from lading.batch.model import OpenModel, choose_signature, open_model
from lading.batch.parts import Part, part_name, publish
from lading.batch.plan import NOTES, PARTS, Plan
from lading.batch.predictor import Predictor
from lading.batch.reading import file_pieces
from lading.batch.run import begin_run, end_run, make_plan
from lading.batch.verdict import make_report
from lading.batches import BatchReport
from lading.errors import InvalidData, InvalidInput
from lading.predict.signature import Signature

RESULTS = f"{NOTES}/beam"
"""What the workers say of each file: they cannot share a journal."""


@dataclass(frozen=True)
class Stretch:
    """Shards of a file that one worker predicts."""

    file: int
    number: int
    """Of the first shard in the file."""
    start: int
    row: int
    shards: int
    """How many; 0: all that follow."""


@dataclass(frozen=True)
class Told:
    """What came of a shard; with a problem: where a file could not be read further."""

    number: int
    shard: Shard
    problem: str = ""


@dataclass(frozen=True)
class _Work:
    """What every worker knows."""

    plan: Plan
    model: str
    engine: str
    output: str

    @property
    def options(self) -> Any:
        return replace(self.plan.options, batch_size=self.plan.batch_size)


class _Loaded:
    """The model in a worker's process, shared by its threads."""

    def __init__(self, work: _Work) -> None:
        self._stack = contextlib.ExitStack()
        opened: OpenModel = self._stack.enter_context(open_model(work.model, environ=os.environ, engine=work.engine))
        if opened.digest != work.plan.model:
            raise InvalidInput(
                f"the model {work.model} is another one on this worker ({opened.digest}) than where the run began "
                f"({work.plan.model}): give it by digest"
            )
        self.signature: Signature = opened.model.signatures[work.plan.signature]
        self.output: OutputFormat = open_output(self.signature, work.options)
        self.predictor = Predictor(opened.model, self.signature, self.output)
        self.formats: dict[str, InputFormat] = {
            format: open_input(format, self.signature, work.options) for format in {f.format for f in work.plan.files}
        }


class _WithModel(beam.DoFn):  # type: ignore[misc]
    """Whatever needs the model."""

    def __init__(self, work: _Work, shared: Shared) -> None:
        self._work, self._shared = work, shared

    def setup(self) -> None:
        self._loaded: _Loaded = self._shared.acquire(lambda: _Loaded(self._work), tag=self._work.plan.model)
        self._outputs = open_outputs(self._work.output)


class Split(_WithModel):
    """Finds where the shards of a file begin, without decoding a row."""

    def process(self, file: int) -> Iterator[Stretch]:
        """The stretches of a file."""
        planned = self._work.plan.files[file]
        if planned.file.name.endswith(".gz"):
            yield Stretch(file, 0, 0, 0, 0)
            return
        number, start, row = 0, 0, 0
        with contextlib.suppress(InvalidData, InvalidInput):  # told by who predicts the last stretch
            for piece in file_pieces(self._work.plan, file, self._loaded.formats[planned.format]):
                if piece.block is not None and piece.ends_shard:
                    yield Stretch(file, number, start, row, 1)
                    number, start, row = number + 1, piece.block.end, piece.block.next_row
        yield Stretch(file, number, start, row, 0)


class Predict(_WithModel):
    """Predicts shards and writes their parts."""

    def process(self, stretch: Stretch) -> Iterator[tuple[int, Told]]:
        """What came of each shard, by file."""
        plan, loaded = self._work.plan, self._loaded
        planned = plan.files[stretch.file]
        format = loaded.formats[planned.format]
        number, part = stretch.number, None
        try:
            for piece in file_pieces(plan, stretch.file, format, start=stretch.start, row=stretch.row):
                if piece.block is None:
                    break
                part = part or Part(loaded.output, planned.file.uri, is_first=not number)
                part.add(piece.block, loaded.predictor.run(piece.block, format))
                if piece.ends_shard:
                    part.store(self._outputs, stretch.file, number)
                    yield stretch.file, Told(number, part.shard)
                    part.close()
                    number, part = number + 1, None
                    if number - stretch.number == stretch.shards:
                        return
        except (InvalidData, InvalidInput) as error:
            yield stretch.file, Told(number, Shard(), str(error))
        # So that a file without rows is published, too.
        yield stretch.file, Told(-1, Shard())


class Publish(_WithModel):
    """Puts the parts of a file together."""

    def process(self, told: tuple[int, Iterable[Told]]) -> Iterator[int]:
        """The file, when its predictions are in their place."""
        file, shards = told[0], sorted((one for one in told[1] if one.number >= 0), key=lambda one: one.number)
        problem = next((one.problem for one in shards if one.problem), "")
        so_far = FileDone()
        for one in shards:
            if not one.problem:
                so_far.shards += 1
                so_far.reasons.update(one.shard.reasons)
        if not problem:
            publish(self._work.plan, self._outputs, self._loaded.output, file, so_far=so_far)
        told_shards = [one.shard.to_dict() for one in shards if not one.problem]
        line = orjson.dumps({"file": file, "problem": problem, "shards": told_shards})
        self._outputs.write(f"{RESULTS}/{file:06d}.json", line)
        yield file


def run_on_beam(
    job: BatchJob, model: str, *, engine: str, environ: Mapping[str, str], runner: list[str]
) -> BatchReport:
    """Predict every row of the input files, on Beam's runner.

    Args:
        job: What is to be done; places that every worker reaches.
        model: As ``lading.batch.model.open_model`` takes it; every worker fetches it.
        engine: What computes.
        environ: For the model, here.
        runner: The options of Beam: ``--runner=DataflowRunner`` and the like.

    Returns:
        The verdict, as ``run_batch`` gives it. ``--max-bad-rows`` is judged at the end.

    Raises:
        InvalidInput, NotFound, RunInProgress, AccessDenied, StorageError, EngineError: as ``run_batch``.
        RuntimeError: Beam's runner failed.
    """
    limit, started = Limit.parse(job.max_bad_rows), time.monotonic()
    with open_model(model, environ=environ, engine=engine) as opened:
        signature = choose_signature(opened.model, job.options)
        plan = make_plan(job, signature, model=(opened.digest, opened.model.engine))
        for format in {planned.format for planned in plan.files}:
            open_input(format, signature, job.options)
    outputs = open_outputs(job.output)
    outputs.claim(f"beam {os.getpid()}")
    try:
        begin_run(plan, outputs, restart=job.restart)
        done = Done(outputs, plan)
        left = [index for index, file in enumerate(done.files) if not file.is_whole]
        work, shared = _Work(plan, model, plan.engine, job.output), Shared()
        with beam.Pipeline(options=PipelineOptions(runner)) as pipeline:
            (
                pipeline
                | "files" >> beam.Create(left)
                | "split" >> beam.ParDo(Split(work, shared))
                | "spread" >> beam.Reshuffle()
                | "predict" >> beam.ParDo(Predict(work, shared))
                | "by file" >> beam.GroupByKey()
                | "publish" >> beam.ParDo(Publish(work, shared))
            )
        failed = _take_results(outputs, done, left)
        report = make_report(plan, done, outputs, limit, failed=failed, errors=job.errors)
        seconds = time.monotonic() - started
        rows = sum(done.files[index].rows for index in left)
        report = replace(report, seconds=seconds, rows_per_second=rows / seconds)
        end_run(job, outputs, done, report)
        return report
    finally:
        outputs.release()


def _take_results(outputs: Any, done: Done, files: Iterable[int]) -> dict[int, str]:
    """Write what the workers said of their files into the journal; the files that failed, and why."""
    failed = {}
    for index in files:
        told = orjson.loads(outputs.read(f"{RESULTS}/{index:06d}.json") or b"null")
        if told is None:
            raise InvalidData(f"no worker said what became of the input {index}: run it again")
        if told["problem"]:
            failed[index] = told["problem"]
            continue
        done.again(index)
        for shard in told["shards"]:
            done.shard(index, Shard.from_dict(shard))
        done.whole(index)
        outputs.remove([part_name(PARTS, index, number) for number in range(len(told["shards"]))])
    outputs.flush()
    return failed
