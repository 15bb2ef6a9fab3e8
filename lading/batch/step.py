"""A run as a step of a pipeline: what comes of it lies in files that other steps and pages take."""

from collections.abc import Mapping
from pathlib import Path

from lading.batch.job import BatchJob
from lading.batch.model import open_model
from lading.batch.run import run_batch
from lading.batches import BatchReport
from lading.files import write_atomic
from lading.report import render_verdict
from lading.values import to_json


def run_step(
    job: BatchJob, model: str, *, engine: str, environ: Mapping[str, str], report: Path, page: Path
) -> BatchReport:
    """Predict every row of the input files, and write down the verdict.

    Args:
        job: What is to be done; ``errors`` is a path, where a file lies afterwards even if no row was bad.
        model: As ``lading.batch.model.open_model`` takes it.
        engine: What computes.
        environ: For the model.
        report: Gets the verdict as JSON.
        page: Gets it as HTML.

    Raises:
        LadingError: as ``open_model`` and ``run_batch``; nothing is written to ``report`` then.
    """
    with open_model(model, environ=environ, engine=engine) as opened:
        verdict = run_batch(job, opened.model, opened.digest)
    if not verdict.errors:
        write_atomic(Path(job.errors), b"")
    write_atomic(report, to_json(verdict))
    write_atomic(page, render_verdict(verdict))
    return verdict
