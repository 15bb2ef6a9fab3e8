"""KFP component: predict the rows of files."""

from typing import NamedTuple, Optional

from kfp import dsl

from components.images import BATCH


@dsl.component(base_image=BATCH, install_kfp_package=False)
def batch_predict(
    inputs: str,
    predictions: dsl.Output[dsl.Artifact],
    errors: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    model: Optional[dsl.Input[dsl.Model]] = None,
    model_uri: str = "",
    output: str = "",
    options: str = "{}",
    max_bad_rows: str = "10%",
    engine: str = "tensorflow",
) -> NamedTuple("Outputs", [("passed", bool), ("rows", int), ("bad_rows", int)]):  # type: ignore[valid-type]
    """Predict the rows of files with a SavedModel, or the model of an image. A step that was killed goes on.

    Args:
        inputs: A file, directory or glob, on this machine or gs://; several with line breaks between them.
        predictions: The directory of the predictions.
        errors: JSON Lines, one for each bad row: file, row, reason, text.
        metrics: Rows, bad rows, files, seconds, rows per second.
        report: The verdict, as the JSON of a BatchReport.
        page: The verdict, for people.
        model: The SavedModel, if a step before made it.
        model_uri: Else where it lies: a SavedModel or base of versions (gs://), or an image by digest.
        output: A directory for the predictions, mostly gs://. Empty: below the pipeline root.
        options: How rows are read and written, as a JSON object: {"input_format": "csv", "key_field": "id"}.
        max_bad_rows: A count, or a share as 1%; with more the verdict is negative.
        engine: What computes: tensorflow, litert, or auto.

    Returns:
        passed: Whether every file could be read, and no more rows were bad than allowed.
        rows: All rows of the input, bad ones included.
        bad_rows: Rows that have no prediction; `errors` says why.

    Raises:
        InvalidInput: No model or two were given, or an option is unknown; the message lists those that there are.
        InvalidModel: The model cannot be loaded.
        NotFound: There is no input of this name, or no model.
        RunInProgress: Another run writes to the same output; wait for its end, or choose another output.
        StorageError: The storage failed for longer than it was asked again; run the step again, it goes on.
    """
    import os
    from pathlib import Path

    from lading.batch.job import BatchJob
    from lading.batch.options import BatchOptions
    from lading.batch.step import run_step
    from lading.errors import InvalidInput

    if bool(model_uri) == (model is not None):
        raise InvalidInput("expected either the artifact model, or a model_uri")
    where = model_uri if model is None else model.path
    named = tuple(line.strip() for line in inputs.splitlines() if line.strip())
    asked = BatchOptions.from_json(options)
    job = BatchJob(named, output or predictions.path, asked, max_bad_rows=max_bad_rows, errors=errors.path)
    verdict = run_step(job, where, engine=engine, environ=os.environ, report=Path(report.path), page=Path(page.path))
    if output:
        predictions.uri = output
    for name, value in verdict.metrics().items():
        metrics.log_metric(name, value)
    return (verdict.passed, verdict.rows, verdict.bad_rows)
