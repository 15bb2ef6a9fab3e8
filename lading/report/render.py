"""From values to HTML."""

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lading.report.curl import curl_command
from lading.report.picture import picture
from lading.values import EvaluationReport, ImageRef, RunReport, SmokeReport

MOST_PICTURES = 24
"""Smoke answers that are drawn; wrong ones first."""
_MOST_MATRIX_CLASSES = 20
"""With more classes than this the worst confusions are listed instead of the whole matrix."""
_WORST = 15


@dataclass(frozen=True)
class Shown:
    """A smoke answer as it is drawn."""

    image: str
    caption: str
    passed: bool
    problem: str


def render_run(report: RunReport) -> str:
    """One HTML file for a run of the release pipeline; parts that the run did not come to are left out."""
    command = ""
    if report.promotion and report.packaged and report.examples:
        model = ImageRef.parse(report.packaged.image).repository.rsplit("/", 1)[-1]
        command = curl_command(report.promotion.url, model, report.examples[0].request)
        if len(command) > 20_000:  # a picture of a thousand pixels a side is no command to paste
            command = ""
    names = [score.name for score in report.evaluation.per_class] if report.evaluation else []
    return (
        _environment()
        .get_template("run.html")
        .render(
            report=report,
            longest=max((step.seconds for step in report.steps), default=0.0) or 1.0,
            command=command,
            evaluation=report.evaluation,
            smoke=report.smoke,
            **_evaluation_parts(report.evaluation),
            **_smoke_parts(report.smoke, names),
            examples=[(example, picture(example.request)) for example in report.examples],
        )
    )


def render_verdict(report: EvaluationReport | SmokeReport) -> str:
    """The page of a rejected release, for the user interface of a pipeline."""
    evaluation = report if isinstance(report, EvaluationReport) else None
    smoke = report if isinstance(report, SmokeReport) else None
    return (
        _environment()
        .get_template("verdict.html")
        .render(
            report=report,
            evaluation=evaluation,
            smoke=smoke,
            **_evaluation_parts(evaluation),
            **_smoke_parts(smoke, []),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lading.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share * 100:.1f} %"
    return environment


def _evaluation_parts(report: EvaluationReport | None) -> dict[str, Any]:
    """The matrix with the share of each cell in its row, or the worst confusions."""
    if report is None:
        return {"matrix": [], "confusions": []}
    names = [score.name for score in report.per_class]
    confusions = sorted(
        (
            (count, names[true], names[predicted])
            for true, row in enumerate(report.confusion)
            for predicted, count in enumerate(row)
            if true != predicted and count
        ),
        reverse=True,
    )
    if len(names) > _MOST_MATRIX_CLASSES:
        return {"matrix": [], "confusions": confusions[:_WORST]}
    matrix = [
        (name, [(count, count / max(sum(row), 1), true == predicted) for predicted, count in enumerate(row)])
        for true, (name, row) in enumerate(zip(names, report.confusion, strict=True))
    ]
    return {"matrix": matrix, "confusions": []}


def _smoke_parts(report: SmokeReport | None, names: list[str]) -> dict[str, Any]:
    if report is None:
        return {"shown": [], "hidden": 0, "wrong": []}
    pictures = []
    for answer in sorted(report.answers, key=lambda a: a.passed):
        image = picture(answer.request)
        vector = _probabilities(answer.response)
        if image and vector:
            pictures.append(Shown(image, _caption(vector, names), answer.passed, answer.problem))
    wrong = [answer for answer in report.answers if not answer.passed]
    return {
        "shown": pictures[:MOST_PICTURES],
        "hidden": len(report.answers) - len(pictures[:MOST_PICTURES]),
        "wrong": wrong[:10],
    }


def _probabilities(response: dict[str, Any]) -> list[float]:
    """The only output's first row, when that is a vector of numbers."""
    value = next(iter(response.values())) if len(response) == 1 else None
    row = value[0] if isinstance(value, list) and value else None
    vector = isinstance(row, list) and len(row) > 1 and all(isinstance(number, float) for number in row)
    return list(row) if vector and row else []


def _caption(vector: list[float], names: list[str]) -> str:
    best = max(range(len(vector)), key=vector.__getitem__)
    name = names[best] if len(names) == len(vector) else f"class {best}"
    return f"{name}, {vector[best] * 100:.0f} %"
