"""From values to HTML. What is drawn is chosen in ``evaluation`` and ``smoke``; how, in the templates."""

from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from lading.batches import BatchReport, VertexBatchReport
from lading.releases import Promotion, SmokeReport
from lading.report.curl import curl_command
from lading.report.evaluation import view_evaluation
from lading.report.picture import find_picture
from lading.report.scan import view_scan
from lading.report.smoke import view_smoke
from lading.results import EvaluationReport, ScanReport, Verdict
from lading.run_report import RunReport
from lading.values import ImageRef

_MOST_COMMAND_CHARACTERS = 20_000
"""A picture of a thousand pixels a side is no command to paste."""


def render_run(report: RunReport) -> str:
    """One HTML file for a run of the release pipeline; parts that the run did not come to are left out."""
    names = tuple(score.name for score in report.evaluation.per_class) if report.evaluation else ()
    return (
        _environment()
        .get_template("run.html")
        .render(
            report=report,
            longest_seconds=max((step.seconds for step in report.steps), default=0.0) or 1.0,
            command=_command(report),
            evaluation=view_evaluation(report.evaluation) if report.evaluation else None,
            smoke=view_smoke(report.smoke, names) if report.smoke else None,
            examples=[(example, find_picture(example.request)) for example in report.examples],
        )
    )


def render_verdict(report: Verdict) -> str:
    """The page of a verdict, for the user interface of a pipeline: one HTML file."""
    return (
        _environment()
        .get_template("verdict.html")
        .render(
            report=report,
            evaluation=view_evaluation(report) if isinstance(report, EvaluationReport) else None,
            smoke=view_smoke(report) if isinstance(report, SmokeReport) else None,
            scan=view_scan(report) if isinstance(report, ScanReport) else None,
            promotion=report if isinstance(report, Promotion) else None,
            batch=report if isinstance(report, BatchReport) else None,
            vertex_batch=report if isinstance(report, VertexBatchReport) else None,
        )
    )


def _command(report: RunReport) -> str:
    """The first example as a request to paste; empty when there is none, or it is too long."""
    if not (report.promotion and report.packaged and report.examples):
        return ""
    model = ImageRef.parse(report.packaged.image).repository.rsplit("/", 1)[-1]
    promotion = report.promotion
    command = curl_command(promotion.url, model, report.examples[0].request, target=promotion.target)
    return command if len(command) <= _MOST_COMMAND_CHARACTERS else ""


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lading.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent, signed=_signed, duration=_duration, moment=_moment, megabytes=_megabytes
    )
    return environment


def _percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _moment(text: str) -> str:
    """ISO 8601 as people read it; as it came when it is something else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%d %H:%M:%S} {moment.tzname() or ''}".strip()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}\N{NO-BREAK SPACE}MB"
