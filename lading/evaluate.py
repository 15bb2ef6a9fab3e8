"""Score a model as it will serve, and judge it against thresholds and against the model that serves now."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import EngineError, InvalidData, InvalidInput, InvalidInstance, InvalidModel
from lading.heldout import HeldOut
from lading.results import ClassScore, EvaluationReport, ModelFacts
from lading.values import Check, from_json

if TYPE_CHECKING:
    import numpy as np

    from lading.predict import Model

THRESHOLDS = {"min_accuracy": 0.8, "max_accuracy_drop": 0.02}
"""``min_accuracy``: the least share of right answers. ``max_accuracy_drop``: how much lower than the champion's it may
be. ``null`` switches a check off."""
BATCH_ROWS = 512
SMALLEST_PROBABILITY = 1e-15
"""A class that was given the probability 0 and is the true one costs 34.5 nats, not infinity."""


@dataclass(frozen=True)
class Scores:
    """One model's answers to the held-out rows."""

    probabilities: "np.ndarray[Any, Any]"
    """``[N, classes]``."""
    accuracy: float
    flaw: str
    """What is wrong with the answers as probabilities; empty when nothing is."""


def evaluate_model(
    model_dir: Path, heldout: Path, *, thresholds: str = "{}", champion: tuple[str, Path] | None = None
) -> EvaluationReport:
    """Score a SavedModel on held-out rows through ``lading.predict``, and compare it with the champion.

    A champion that cannot be compared (it takes other inputs, knows other classes, does not load) makes the verdict
    negative: its clients would meet another model than the one they were written for. ``{"max_accuracy_drop": null}``
    releases all the same; the report then says that nothing was compared.

    Args:
        model_dir: The SavedModel. Its ``serving_default`` has one float output ``[N, classes]``.
        heldout: The rows, as ``train`` wrote them.
        thresholds: A JSON object that overrides ``THRESHOLDS``.
        champion: The serving image by digest, and the directory of its SavedModel; None on a first release.

    Raises:
        InvalidInput: the thresholds are not JSON, or unknown.
        InvalidData: the rows are missing, corrupt, empty, or belong to another model.
        InvalidModel: the model cannot be loaded, or has no output that can be the probabilities.
    """
    limits = parse_thresholds(thresholds)
    rows = HeldOut.load(heldout)
    scores = _score(model_dir, rows)
    accuracy_limit, drop_limit = limits["min_accuracy"], limits["max_accuracy_drop"]
    checks = [
        Check("probabilities", not scores.flaw, "finite numbers that sum to 1 in each row", scores.flaw or "they do")
    ]
    if accuracy_limit is not None:
        passed = scores.accuracy >= accuracy_limit
        checks.append(Check("min_accuracy", passed, f"at least {accuracy_limit:g}", f"{scores.accuracy:.4f}"))
    champion_accuracy = None
    if champion is not None:
        check, champion_accuracy = _compare(scores.accuracy, rows, champion[1], drop_limit)
        checks.append(check)
    confusion = _confusion(scores.probabilities, rows)
    return EvaluationReport(
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        rows=len(rows.labels),
        accuracy=scores.accuracy,
        log_loss=_log_loss(scores.probabilities, rows),
        per_class=_per_class(confusion, rows.class_names),
        confusion=confusion,
        champion=champion[0] if champion else "none",
        champion_accuracy=champion_accuracy,
    )


def parse_thresholds(text: str) -> dict[str, float | None]:
    """The thresholds in force: the defaults, overridden by a JSON object.

    Raises:
        InvalidInput: not a JSON object, an unknown name, or a value that is neither null nor from 0 to 1.
    """
    example = '{"min_accuracy": 0.9, "max_accuracy_drop": 0.01}'
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidInput(f"expected thresholds as JSON such as {example}, received {text!r}: {error}") from error
    if not isinstance(given, dict):
        raise InvalidInput(f"expected thresholds as a JSON object such as {example}, received {text!r}")
    if unknown := sorted(given.keys() - THRESHOLDS):
        raise InvalidInput(f"unknown threshold {', '.join(unknown)}; there are {', '.join(THRESHOLDS)}")
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise InvalidInput(f"threshold {name}: expected a number from 0 to 1, or null, received {value!r}")
    return {**THRESHOLDS, **given}


def _score(model_dir: Path, rows: HeldOut) -> Scores:
    import numpy as np

    from lading.predict import load_model

    names = _class_names(model_dir)
    if names is not None and names != rows.class_names:
        raise InvalidData(
            f"expected held-out rows of the model's classes ({', '.join(names)}), "
            f"received {', '.join(rows.class_names)}"
        )
    with load_model(model_dir) as model:
        output = _probabilities_output(model, rows)
        batches = [
            model.predict({name: array[at : at + BATCH_ROWS] for name, array in rows.inputs.items()})[output]
            for at in range(0, len(rows.labels), BATCH_ROWS)
        ]
    answers = np.concatenate(batches).astype(np.float64)
    if answers.shape != (len(rows.labels), len(rows.class_names)):
        raise InvalidModel(
            f"{model_dir}: expected {output!r} of shape {[len(rows.labels), len(rows.class_names)]}, "
            f"received {list(answers.shape)}"
        )
    # A row without numbers names no class: it is counted as wrong.
    usable = np.isfinite(answers).all(axis=1)
    right = usable & (np.nan_to_num(answers).argmax(axis=1) == rows.labels)
    return Scores(answers, float(right.mean()), _flaw(answers))


def _class_names(model_dir: Path) -> tuple[str, ...] | None:
    """What the model says that it tells apart; None for a SavedModel that lading did not train."""
    facts = model_dir / ModelFacts.FILE
    try:
        return from_json(facts.read_bytes(), ModelFacts).class_names if facts.is_file() else None
    except InvalidInput as error:
        raise InvalidModel(f"{facts}: {error}") from error


def _probabilities_output(model: "Model", rows: HeldOut) -> str:
    """The one float output of ``serving_default`` that has a column for each class."""
    signature = model.signatures.get("serving_default")
    if signature is None:
        raise InvalidModel(f"{model.path}: expected a signature serving_default, found {', '.join(model.signatures)}")
    if set(signature.inputs) != set(rows.inputs):
        raise InvalidData(
            f"expected held-out rows with the model's inputs ({', '.join(sorted(signature.inputs))}), "
            f"received {', '.join(sorted(rows.inputs))}"
        )
    classes = len(rows.class_names)
    found = [
        spec.name
        for spec in signature.outputs.values()
        if spec.dtype is not None
        and spec.dtype.kind == "f"
        and (spec.shape is None or (len(spec.shape) == 2 and spec.shape[1] in (None, classes)))
    ]
    if len(found) != 1:
        outputs = ", ".join(f"{spec.name} {spec.dtype} {spec.shape}" for spec in signature.outputs.values())
        raise InvalidModel(
            f"{model.path}: expected one float output of shape (None, {classes}) in serving_default, "
            f"the probabilities of the {classes} classes; it has {outputs}"
        )
    return found[0]


def _flaw(answers: "np.ndarray[Any, Any]") -> str:
    import numpy as np

    if not np.isfinite(answers).all():
        return f"NaN or infinity in {int((~np.isfinite(answers)).any(axis=1).sum())} of {len(answers)} rows"
    sums = answers.sum(axis=1)
    if answers.min() < 0 or not np.allclose(sums, 1, atol=1e-2):
        return f"values from {answers.min():.3g} to {answers.max():.3g}, sums from {sums.min():.3g} to {sums.max():.3g}"
    return ""


def _compare(accuracy: float, rows: HeldOut, champion: Path, limit: float | None) -> tuple[Check, float | None]:
    """The check against the champion, and the champion's accuracy when it could be scored."""
    expected = "any: no limit is set" if limit is None else f"at most {limit:g} below the champion's accuracy"
    try:
        champion_accuracy = _score(champion, rows).accuracy
    except (InvalidData, InvalidModel, InvalidInstance, EngineError) as error:
        received = f"the champion cannot be compared: {error}"
        if limit is not None:
            received += '; to release all the same, set the threshold "max_accuracy_drop" to null'
        return Check("max_accuracy_drop", limit is None, expected, received), None
    received = f"{accuracy:.4f} against the champion's {champion_accuracy:.4f}"
    # Both are shares of the same rows: differences below half a row are rounding.
    passed = limit is None or champion_accuracy - accuracy <= limit + 0.5 / len(rows.labels)
    return Check("max_accuracy_drop", passed, expected, received), champion_accuracy


def _log_loss(probabilities: "np.ndarray[Any, Any]", rows: HeldOut) -> float:
    import numpy as np

    true = probabilities[np.arange(len(rows.labels)), rows.labels]
    usable = np.clip(np.nan_to_num(true, nan=0.0), SMALLEST_PROBABILITY, 1.0)
    return float(-np.log(usable).mean())


def _confusion(probabilities: "np.ndarray[Any, Any]", rows: HeldOut) -> tuple[tuple[int, ...], ...]:
    """Row: true class, column: predicted class."""
    import numpy as np

    classes = len(rows.class_names)
    predicted = np.nan_to_num(probabilities).argmax(axis=1)
    counts = np.bincount(rows.labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return tuple(tuple(map(int, row)) for row in counts.reshape(classes, classes))


def _per_class(confusion: tuple[tuple[int, ...], ...], names: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """Precision and recall; 0 where a class was never predicted, or has no rows."""
    predicted = [sum(column) for column in zip(*confusion, strict=True)]
    return tuple(
        ClassScore(
            name=name,
            precision=confusion[at][at] / max(1, predicted[at]),
            recall=confusion[at][at] / max(1, sum(confusion[at])),
            support=sum(confusion[at]),
        )
        for at, name in enumerate(names)
    )
