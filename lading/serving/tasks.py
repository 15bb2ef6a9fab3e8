"""Classification and regression of examples by a model that serves, whatever protocol asks; counted."""

from collections.abc import Sequence

from lading.predict import classify
from lading.serving.loading import Served


def classify_examples(served: Served, examples: Sequence[bytes], *, signature: str) -> list[list[tuple[bytes, float]]]:
    """For each example its classes; as ``lading.predict.classify.classify``."""
    found = classify.find(served.model, signature)
    classify.check_classify(found)
    outputs = served.predict(classify.inputs_of(examples), signature=found.name, api="Classify")
    rows = classify.classes_of(found, outputs, len(examples))
    served.metrics.examples(len(examples))
    return rows


def regress_examples(served: Served, examples: Sequence[bytes], *, signature: str) -> list[float]:
    """For each example a value; as ``lading.predict.classify.regress``."""
    found = classify.find(served.model, signature)
    classify.check_regress(found)
    outputs = served.predict(classify.inputs_of(examples), signature=found.name, api="Regress")
    values = classify.values_of(found, outputs, len(examples))
    served.metrics.examples(len(examples))
    return values
