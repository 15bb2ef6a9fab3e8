"""What a run of a pipeline did, step by step; values, as ``lading.values`` says."""

from dataclasses import dataclass
from typing import Any

from lading.releases import Candidate, Promotion, SmokeReport
from lading.results import EvaluationReport, PackagedImage


@dataclass(frozen=True)
class StepRecord:
    """One step of a run."""

    name: str
    status: str
    """``succeeded``, ``failed``, ``skipped``, ``cancelled``, or ``running`` (cut off by an interruption)."""
    seconds: float
    verdict: str = ""
    """What the step decided, in a few words: ``accuracy 0.88``, ``34 of 34 answers right``."""


@dataclass(frozen=True)
class Example:
    """A held-out row that was sent to the promoted service, for people to look at."""

    request: dict[str, Any]
    """For each input its value as nested lists, with a leading batch axis of 1."""
    true: str
    """Name of the true class."""
    predicted: str
    """Name of the most probable class."""
    probability: float
    """What the model gives the predicted class, 0 to 1."""


@dataclass(frozen=True)
class RunReport:
    """What a run of the release pipeline did."""

    run_id: str
    pipeline: str
    outcome: str
    """``promoted``, ``rejected``, ``failed`` or ``cancelled``."""
    started: str
    """ISO 8601, UTC."""
    seconds: float
    parameters: dict[str, str]
    steps: tuple[StepRecord, ...]
    problem: str = ""
    """Why it did not end well; empty when it did."""
    evaluation: EvaluationReport | None = None
    packaged: PackagedImage | None = None
    candidate: Candidate | None = None
    smoke: SmokeReport | None = None
    promotion: Promotion | None = None
    examples: tuple[Example, ...] = ()
