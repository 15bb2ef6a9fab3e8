"""An evaluation as it is drawn: the confusion matrix as a heat map, or the worst confusions of many classes."""

import math
from dataclasses import dataclass

from lading.results import ClassScore, EvaluationReport

_MOST_MATRIX_CLASSES = 20
"""With more classes than this the worst confusions are listed instead of the whole matrix."""
_WORST = 15
"""Confusions, and classes by recall, that are listed when there are too many for a whole table."""


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix."""

    count: int
    right: bool
    """Whether it is on the diagonal."""
    heat: float
    """How strong its colour is, 0 to 1: the share of the rows of its true class; of errors the root of that share,
    so that small ones are seen."""


@dataclass(frozen=True)
class Confusion:
    """Two classes that the model mistakes."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the rows of the true class, 0 to 1."""


@dataclass(frozen=True)
class EvaluationView:
    """What the page shows beside the figures of the report."""

    report: EvaluationReport
    matrix: tuple[tuple[str, tuple[Cell, ...]], ...]
    """For each true class its cells; empty when there are too many classes."""
    confusions: tuple[Confusion, ...]
    """The most frequent first; empty when the matrix is drawn."""
    classes: tuple[ClassScore, ...]
    """In the model's order; of many classes those of the lowest recall."""
    more_classes: tuple[ClassScore, ...]
    """The others."""
    champion_difference: float | None
    """Accuracy less the champion's, in percentage points."""


def view_evaluation(report: EvaluationReport) -> EvaluationView:
    """Choose what is drawn of an evaluation."""
    many = len(report.per_class) > _MOST_MATRIX_CLASSES
    classes = tuple(sorted(report.per_class, key=lambda score: score.recall)) if many else report.per_class
    shown = _WORST if many else len(classes)
    against = report.champion_accuracy
    return EvaluationView(
        report=report,
        matrix=() if many else _matrix(report),
        confusions=_confusions(report) if many else (),
        classes=classes[:shown],
        more_classes=classes[shown:],
        champion_difference=None if against is None else (report.accuracy - against) * 100,
    )


def _matrix(report: EvaluationReport) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple(
        (score.name, tuple(_cell(count, sum(row), right=at == true) for at, count in enumerate(row)))
        for true, (score, row) in enumerate(zip(report.per_class, report.confusion, strict=True))
    )


def _cell(count: int, rows: int, *, right: bool) -> Cell:
    share = count / max(rows, 1)
    return Cell(count, right, share if right else math.sqrt(share))


def _confusions(report: EvaluationReport) -> tuple[Confusion, ...]:
    names = [score.name for score in report.per_class]
    found = [
        Confusion(names[true], names[predicted], count, count / sum(row))
        for true, row in enumerate(report.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return tuple(sorted(found, key=lambda confusion: -confusion.count)[:_WORST])
