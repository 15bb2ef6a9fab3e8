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
    new_rows: int = 0
    """Rows of this attempt; 0 where an earlier one had done everything."""

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a metrics artifact."""
        return {
            "rows": float(self.rows),
            "bad_rows": float(self.bad_rows),
            "files": float(self.files),
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
        }


@dataclass(frozen=True)
class VertexBatchReport:
    """The verdict on a batch prediction job of Vertex AI that has ended with predictions."""

    passed: bool
    checks: tuple[Check, ...]
    rows: int
    """All rows of the input that the service knows of."""
    bad_rows: int
    """Those without a prediction: ``failed``, and ``incomplete`` if that is known."""
    successful: int
    failed: int
    incomplete: int
    """Rows that were not worked on; -1: the service does not know."""
    state: str
    """``SUCCEEDED`` or ``PARTIALLY_SUCCEEDED``."""
    job: str
    """``projects/P/locations/R/batchPredictionJobs/J``."""
    url: str
    """The job's page in Google's console."""
    resource_url: str
    """The job in the REST API."""
    output: str
    """The directory ``gs://``, or the table ``bq://``, of the predictions."""
    model: str
    """``projects/P/locations/R/models/M@VERSION``."""
    image: str = ""
    """``repository@sha256:…`` that was uploaded as the model; empty if a model was named."""
    problems: tuple[str, ...] = ()
    """What failed on the way, in the service's words: at most 20."""
    seconds: float = 0.0
    """From the start of the job's machines to its end."""
    resumed: bool = False
    """Whether an earlier attempt had started the job."""

    def metrics(self) -> dict[str, float]:
        """The numbers by name, for a metrics artifact."""
        return {
            "rows": float(self.rows),
            "bad_rows": float(self.bad_rows),
            "successful": float(self.successful),
            "failed": float(self.failed),
            "seconds": self.seconds,
        }

    def job_metadata(self) -> dict[str, str]:
        """What an artifact of the job has as its metadata, by which the console links it.

        Source: ``VertexBatchPredictionJob`` in google_cloud_pipeline_components/types/artifact_types.py.
        """
        names = {"resourceName": self.job}
        if not self.output.startswith("bq://"):
            return {**names, "gcsOutputDirectory": self.output}
        dataset, _, table = self.output.rpartition(".")
        if self.output.count(".") < 2:
            return {**names, "bigqueryOutputDataset": self.output}
        return {**names, "bigqueryOutputDataset": dataset, "bigqueryOutputTable": table}
