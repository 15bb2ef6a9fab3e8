"""The batch pipeline: predictions for files of rows, and a red end when too many rows are bad."""

from kfp import dsl

from components.batch_predict import batch_predict
from components.reject import reject


@dsl.pipeline(name="judge")
def judge(passed: bool, report: dsl.Input[dsl.Artifact]):
    """A pipeline of its own: KFP's local runner evaluates no condition on an output of the pipeline it stands in."""
    with dsl.If(passed == False, name="too-many-bad-rows"):  # noqa: E712
        reject(report=report).set_caching_options(False)


@dsl.pipeline(name="batch")
def batch(
    model: str,
    inputs: str,
    output: str,
    options: str = "{}",
    max_bad_rows: str = "10%",
    engine: str = "tensorflow",
):
    """Predict the rows of files; a run that is sent again goes on where an earlier one ended.

    Args:
        model: A SavedModel or a base of versions (gs://), or an image by digest that `package` made.
        inputs: A file, directory or glob, mostly gs://.
        output: A directory for the predictions.
        options: How rows are read and written, as a JSON object: {"input_format": "csv", "key_field": "id"}.
        max_bad_rows: A count, or a share as 1%; with more the run ends red.
        engine: What computes: tensorflow, litert, or auto.
    """
    predicted = batch_predict(
        model_uri=model, inputs=inputs, output=output, options=options, max_bad_rows=max_bad_rows, engine=engine
    ).set_caching_options(False)
    judge(passed=predicted.outputs["passed"], report=predicted.outputs["report"])
