"""A smoke test as it is drawn: its answers with the pictures that were asked about, wrong ones first."""

from dataclasses import dataclass
from typing import Any

from lading.releases import SmokeAnswer, SmokeReport
from lading.report.picture import Picture, find_picture

MOST_PICTURES = 24
_MOST_LISTED = 24
"""Wrong answers without a picture that are listed."""
_NOT_DRAWN = "input_gradients"
"""It asks about the rows of ``serving_default`` once more, and its answers are no probabilities."""


@dataclass(frozen=True)
class Drawn:
    """An answer beside the picture that was asked about."""

    answer: SmokeAnswer
    picture: Picture
    label: str
    """The most probable class; empty when the answer holds no probabilities."""
    probability: float
    """What the model gives that class, 0 to 1."""


@dataclass(frozen=True)
class SmokeView:
    """What the page shows beside the checks of the report."""

    report: SmokeReport
    right: int
    """Answers that were right."""
    drawn: tuple[Drawn, ...]
    """At most ``MOST_PICTURES``, wrong ones first."""
    listed: tuple[SmokeAnswer, ...]
    """Wrong answers that have no picture."""
    hidden: tuple[tuple[str, int, int], ...]
    """For each signature how many more answers there are than are shown, and how many of these were wrong."""


def view_smoke(report: SmokeReport, class_names: tuple[str, ...] = ()) -> SmokeView:
    """Choose what is drawn of a smoke test.

    Args:
        report: The smoke test.
        class_names: In the order of the model's output; empty when unknown.
    """
    drawn: list[Drawn] = []
    listed: list[SmokeAnswer] = []
    hidden: dict[str, list[SmokeAnswer]] = {}
    for answer in sorted(report.answers, key=lambda answer: answer.passed):
        wanted = answer.signature != _NOT_DRAWN and len(drawn) < MOST_PICTURES
        if wanted and (picture := find_picture(answer.request)):
            drawn.append(Drawn(answer, picture, *_most_probable(answer.response, class_names)))
        elif not answer.passed and len(listed) < _MOST_LISTED:
            listed.append(answer)
        else:
            hidden.setdefault(answer.signature, []).append(answer)
    return SmokeView(
        report=report,
        right=sum(answer.passed for answer in report.answers),
        drawn=tuple(drawn),
        listed=tuple(listed),
        hidden=tuple((name, len(found), sum(not a.passed for a in found)) for name, found in hidden.items()),
    )


def _most_probable(response: dict[str, Any], class_names: tuple[str, ...]) -> tuple[str, float]:
    """Name and probability of the largest element of the only output that is a vector with one float for each class."""
    vectors = [row for value in response.values() if (row := _vector(value))]
    if class_names:
        vectors = [row for row in vectors if len(row) == len(class_names)]
    if len(vectors) != 1:
        return "", 0.0
    row = vectors[0]
    best = max(range(len(row)), key=row.__getitem__)
    return class_names[best] if class_names else f"class {best}", row[best]


def _vector(value: Any) -> list[float]:
    """The row of a ``[1, classes]`` value of floats; empty when it is something else."""
    row = value[0] if isinstance(value, list) and len(value) == 1 else None
    if not isinstance(row, list) or len(row) < 2 or not all(type(number) in (int, float) for number in row):
        return []
    return row if any(isinstance(number, float) for number in row) else []
