"""KFP component: score a model as it will serve, and judge it."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS_TRAIN


@dsl.component(base_image=STEPS_TRAIN, install_kfp_package=False)
def evaluate(
    model: dsl.Input[dsl.Model],
    heldout: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    thresholds: str = "{}",
    service: str = "",
    target: str = "local:",
) -> NamedTuple("Outputs", [("passed", bool)]):  # type: ignore[valid-type]
    """Score a model on held-out rows, and compare it with the model that serves now.

    Args:
        model: The SavedModel.
        heldout: Rows with their true classes, as `train` writes them.
        report: The verdict, as the JSON of an EvaluationReport.
        metrics: Accuracy and log loss, and the champion's accuracy when there is one.
        classification: The confusion matrix.
        thresholds: A JSON object: {"min_accuracy": 0.8, "max_accuracy_drop": 0.02}.
        service: The service whose model is the champion. Empty: there is none.
        target: Where the service lives.

    Returns:
        passed: Whether every threshold is met.

    Raises:
        InvalidInput: The thresholds are no JSON object, or one is unknown; the message lists those that there are.
        InvalidData: The held-out rows are missing or corrupt, or belong to another model; take both from one `train`.
        InvalidModel: The model cannot be loaded, or has no output that can be probabilities of classes.
        NotFound: The image of the champion is gone from its store; leave `service` empty to judge without it.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os
    from pathlib import Path

    from lading.champion import champion_of
    from lading.evaluate import evaluate_model
    from lading.files import write_atomic
    from lading.values import to_json

    with champion_of(service, target, environ=os.environ) as champion:
        verdict = evaluate_model(Path(model.path), Path(heldout.path), thresholds=thresholds, champion=champion)
    metrics.metadata.update(verdict.metrics())
    classification.log_confusion_matrix([c.name for c in verdict.per_class], [list(row) for row in verdict.confusion])
    for artifact in (report, metrics, classification):
        write_atomic(Path(artifact.path), to_json(verdict))
    return (verdict.passed,)
