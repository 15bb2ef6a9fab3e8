"""KFP component: convert a SavedModel for the engine litert, with the proof that it answers as before."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS_TRAIN


@dsl.component(base_image=STEPS_TRAIN, install_kfp_package=False)
def convert(
    model: dsl.Input[dsl.Model],
    converted: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.Artifact],
    rtol: float = 0.0,
    atol: float = 0.0,
) -> NamedTuple("Outputs", [("passed", bool)]):  # type: ignore[valid-type]
    """Convert a SavedModel for LiteRT, and compare the answers of both on at least 100 rows for each signature.

    Args:
        model: The SavedModel.
        converted: The SavedModel with its conversion inside; after a negative verdict without one, for TensorFlow.
        report: The verdict, as the JSON of a ConvertReport.
        rtol: Answers may differ by this times the largest magnitude in the row. 0: what the golden requests allow, at
            least 1e-4.
        atol: Answers may differ by this besides. 0: what the golden requests allow, at least 1e-5.

    Returns:
        passed: Whether every signature converts and answers within the tolerance.

    Raises:
        InvalidModel: The model cannot be loaded, or its golden requests are not its own; take it as `train` made it.
        InvalidInput: A tolerance is negative.
        EngineError: The converter ended without an answer, mostly for want of memory; give the step more.
    """
    from pathlib import Path

    from lading.convert import convert_model
    from lading.files import write_atomic
    from lading.values import to_json

    verdict = convert_model(Path(model.path), Path(converted.path), rtol=rtol or None, atol=atol or None)
    write_atomic(Path(report.path), to_json(verdict))
    return (verdict.passed,)
