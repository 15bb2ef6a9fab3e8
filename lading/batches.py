"""What batch prediction results in; values, as ``lading.values`` says."""

from dataclasses import dataclass, field

from lading.values import Check

MOST_LISTED = 1000
"""So many files and reasons a report lists."""


@dataclass(frozen=True)
class BatchReport:
    """The verdict on a run."""

    passed: bool
    checks: tuple[Check, ...]
    rows: int
    """All rows of the input, bad ones included."""
    bad_rows: int
    files: int
    output: str
    """The directory of the predictions."""
    outputs: tuple[str, ...]
    """URIs of the first ``MOST_LISTED`` files in it."""
    errors: str
    """URI of the errors file; empty when no row was bad."""
    reasons: dict[str, int] = field(default_factory=dict)
    """How often each reason was given: the most frequent ones."""
    failed_files: dict[str, str] = field(default_factory=dict)
    """Files that could not be read to their end, and why; they have no output."""
    model: str = ""
    """Digest of the model."""
    engine: str = ""
    signature: str = ""
    batch_size: int = 0
    seconds: float = 0.0
    """Of this attempt."""
    rows_per_second: float = 0.0
    """Of this attempt."""
    resumed: bool = False
    """Whether it went on from an earlier attempt."""

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a metrics artifact."""
        return {
            "rows": float(self.rows),
            "bad_rows": float(self.bad_rows),
            "files": float(self.files),
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
        }
