"""What a run did, gathered from the artifacts that its steps left."""

from dataclasses import replace
from typing import TypeVar

from lading.batches import BatchReport
from lading.flows.run import Run
from lading.releases import Candidate, Promotion, SmokeReport
from lading.results import EvaluationReport, PackagedImage, ScanReport, TrainingReport
from lading.run_report import Example, RunReport, StepRecord
from lading.values import from_json

V = TypeVar("V")


def summarize(run: Run, examples: tuple[Example, ...] = ()) -> RunReport:
    """The report of a run that has ended; parts whose step did not come to its end are None."""
    training = _read(run, "train", "report", TrainingReport)
    evaluation = _read(run, "evaluate", "report", EvaluationReport)
    scanned = _read(run, "scan", "report", ScanReport)
    packaged = _read(run, "package", "packaged", PackagedImage)
    candidate = _read(run, "deploy", "candidate", Candidate)
    smoke = _read(run, "smoke", "report", SmokeReport)
    promotion = _read(run, "promote", "promotion", Promotion)
    predicted = _read(run, "batch-predict", "report", BatchReport)
    verdicts: dict[str, object] = {
        "train": training and _training_words(training),
        "evaluate": evaluation and _evaluation_words(evaluation),
        "scan": scanned and _scan_words(scanned),
        "package": packaged and f"{packaged.image.partition('@')[2][:19]}…, {packaged.model_bytes / 1e6:.1f} MB",
        "deploy": candidate and f"{candidate.revision} is ready, without traffic" + _first(candidate),
        "smoke": smoke and _smoke_words(smoke),
        "promote": promotion
        and (f"{promotion.revision} takes 100 %" if promotion.passed else f"taken back {promotion.reason}"),
        "batch-predict": predicted and _batch_words(predicted),
        "settle": "nothing to undo" if run.outcome == "promoted" else "",
    }
    return RunReport(
        run_id=run.directory.name,
        pipeline=run.pipeline,
        outcome=run.outcome,
        started=run.started.isoformat(timespec="seconds"),
        seconds=round(run.seconds, 3),
        parameters={key: str(value) for key, value in run.parameters.items()},
        steps=tuple(_with_verdict(step, verdicts.get(step.name)) for step in run.steps),
        problem=run.problem,
        evaluation=evaluation,
        packaged=packaged,
        candidate=candidate,
        smoke=smoke,
        promotion=promotion,
        examples=examples,
    )


def _read(run: Run, step: str, name: str, kind: type[V]) -> V | None:
    record = run.ended(step)
    path = run.output(step, name)
    return from_json(path.read_text(), kind) if record and record.status == "succeeded" and path else None


def _with_verdict(step: StepRecord, verdict: object) -> StepRecord:
    return replace(step, verdict=verdict) if isinstance(verdict, str) else step


def _training_words(report: TrainingReport) -> str:
    shown = [f"{name} {value:.3g}" for name, value in report.metrics.items() if "accuracy" in name]
    return ", ".join([f"{report.recipe}", *shown[-1:]])


def _evaluation_words(report: EvaluationReport) -> str:
    champion = "no champion"
    if report.champion_accuracy is not None:
        champion = f"champion {report.champion_accuracy:.4f}"
    return f"{'passed' if report.passed else 'REJECTED'}: accuracy {report.accuracy:.4f}, {champion}"


def _scan_words(report: ScanReport) -> str:
    grave = sum(finding.count for finding in report.findings if finding.severity in ("high", "critical"))
    words = f"{sum(report.operations.values())} operations, {len(report.files)} files, {grave or 'nothing'} grave"
    return f"{'passed' if report.passed else 'REJECTED'}: {words}"


def _smoke_words(report: SmokeReport) -> str:
    right = sum(answer.passed for answer in report.answers)
    words = f"{right} of {len(report.answers)} answers right, median {report.median_milliseconds:.1f} ms"
    return f"{'passed' if report.passed else 'REJECTED'}: {words}"


def _batch_words(report: BatchReport) -> str:
    files = "1 file" if report.files == 1 else f"{report.files:,} files"
    words = f"{report.rows:,} rows of {files}, {report.bad_rows:,} bad: {report.output}"
    return words if report.passed else f"REJECTED: {words}"


def _first(candidate: Candidate) -> str:
    return " (first release)" if candidate.first_release else ""
