"""KFP component: predict the rows of files with a batch prediction job of Vertex AI."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS
from lading.artifact_types import VertexBatchPredictionJob


@dsl.component(base_image=STEPS, install_kfp_package=False)
def vertex_batch_predict(
    inputs: str,
    output: str,
    project: str,
    region: str,
    predictions: dsl.Output[dsl.Artifact],
    job: dsl.Output[VertexBatchPredictionJob],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    image: str = "",
    model_resource: str = "",
    model_name: str = "",
    options: str = "{}",
    max_bad_rows: str = "10%",
    run_id: str = "",
    restart: bool = False,
    timeout_seconds: int = 86400,
) -> NamedTuple("Outputs", [("passed", bool), ("rows", int), ("bad_rows", int)]):  # type: ignore[valid-type]
    """Predict the rows of files with the serving image, in a batch prediction job of Vertex AI.

    Args:
        inputs: A file, directory or wildcard gs://, several with line breaks between them; or a table bq://P.D.T.
        output: gs://BUCKET/PREFIX, below which the job makes a directory; or bq://PROJECT.DATASET.
        project: Google Cloud project.
        region: Of the job, for instance europe-west4.
        predictions: The directory, or the table, of the predictions and of what failed.
        job: The job, as the console links it.
        metrics: Rows, bad rows, seconds.
        report: The verdict, as the JSON of a VertexBatchReport.
        page: The verdict, for people.
        image: The serving image by digest, which becomes a version of a model. Empty: `model_resource` is given.
        model_resource: Else projects/P/locations/R/models/M, perhaps with @VERSION.
        model_name: Of the model that the image becomes. Empty: the image's own name with -batch behind it.
        options: How the job runs, as a JSON object: {"input_format": "csv", "max_replicas": 4}.
        max_bad_rows: A count, or a share as 1%; with more the verdict is negative.
        run_id: Tells this request from an earlier one over the same files: dsl.PIPELINE_JOB_ID_PLACEHOLDER.
        restart: Start a job even if the request has one that runs, or is done.
        timeout_seconds: How long it may take; then the job is cancelled.

    Returns:
        passed: Whether no more rows were bad than allowed.
        rows: All rows of the input that Vertex knows of, bad ones included.
        bad_rows: Rows that have no prediction.

    Raises:
        InvalidInput: The request is none that can be carried out, or Vertex refuses it; the message says why.
        InvalidReference: The image has no digest, or an input, the output or the model is of the wrong kind.
        NotFound: There is no input of this name, or no such model, project or region.
        AccessDenied: Who asks, or the job, may not do it; the message names the role that is missing.
        QuotaExceeded: There are no machines for the job.
        RevisionFailed: Vertex does not take the image.
        RemoteError: The job ended without predictions; the message has its errors.
        DeadlineExceeded: It took longer than `timeout_seconds`; the job was cancelled.
        ServiceUnreachable: Vertex AI does not answer.
    """
    import logging
    import os
    import signal
    import sys
    from pathlib import Path

    from lading.files import write_atomic
    from lading.report import render_verdict
    from lading.values import to_json
    from lading.vertex_batch import BatchPrediction, batch_predict
    from lading.vertex_jobs.options import JobOptions
    from lading.wait import Deadline

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # As an exception, so that a step that is cancelled cancels its job.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    request = BatchPrediction(
        project=project,
        region=region,
        inputs=tuple(line.strip() for line in inputs.splitlines() if line.strip()),
        output=output,
        image=image,
        model=model_resource,
        model_name=model_name,
        options=JobOptions.from_json(options),
        max_bad_rows=max_bad_rows,
        run_id=run_id,
        restart=restart,
    )
    deadline = Deadline.after(timeout_seconds)
    verdict = batch_predict(request, environ=os.environ, deadline=deadline, tell=logging.info)
    predictions.uri = verdict.output
    job.uri = verdict.resource_url
    job.metadata.update(verdict.job_metadata())
    for name, value in verdict.metrics().items():
        metrics.log_metric(name, value)
    write_atomic(Path(report.path), to_json(verdict))
    write_atomic(Path(page.path), render_verdict(verdict))
    return (verdict.passed, verdict.rows, verdict.bad_rows)
