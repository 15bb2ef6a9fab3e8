"""What came of a job: a report for one that has predictions, an error for one that has none."""

from typing import Any

from lading.batch.limit import Limit
from lading.batches import VertexBatchReport
from lading.errors import AccessDenied, InvalidInput, LadingError, QuotaExceeded, RemoteError
from lading.vertex_api import VertexApi
from lading.vertex_jobs.api import state_of

_INVALID_ARGUMENT, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED = 3, 7, 8  # google/rpc/code.proto
_MOST_TOLD = 3


def report_of(job: Any, limit: Limit, *, api: VertexApi, url: str, image: str, resumed: bool) -> VertexBatchReport:
    """The verdict on a job that has ended with predictions."""
    stats = job.completion_stats
    bad = stats.failed_count + max(0, stats.incomplete_count)
    rows = stats.successful_count + bad
    check = limit.check(bad, rows, ended_early=False)
    took = (job.end_time - job.start_time).total_seconds() if job.end_time and job.start_time else 0.0
    return VertexBatchReport(
        passed=check.passed,
        checks=(check,),
        rows=int(rows),
        bad_rows=int(bad),
        successful=int(stats.successful_count),
        failed=int(stats.failed_count),
        incomplete=int(stats.incomplete_count),
        state=state_of(job),
        job=job.name,
        url=url,
        resource_url=f"{api.url}/v1/{job.name}",
        output=output_of(job),
        model=f"{job.model.partition('@')[0]}@{job.model_version_id}" if job.model_version_id else job.model,
        image=image,
        problems=tuple(one.message for one in job.partial_failures),
        seconds=took,
        resumed=resumed,
    )


def output_of(job: Any) -> str:
    """Where the predictions are: a directory ``gs://``, or a table or dataset ``bq://``; empty before there are any."""
    info = job.output_info
    if info.bigquery_output_dataset and info.bigquery_output_table:
        return f"{info.bigquery_output_dataset}.{info.bigquery_output_table}"
    return str(info.gcs_output_directory or info.bigquery_output_dataset)


def progress_of(job: Any) -> str:
    """How many rows are done, in words; empty when the service does not say."""
    stats = job.completion_stats
    parts = [f"{stats.successful_count:,} predicted"] if stats.successful_count else []
    parts += [f"{stats.failed_count:,} failed"] if stats.failed_count else []
    parts += [f"{stats.incomplete_count:,} to do"] if stats.incomplete_count > 0 else []
    return ", ".join(parts)


def failure_of(job: Any, where: str, *, url: str) -> LadingError:
    """The error of a job that ended without predictions, in one paragraph."""
    said = " ".join(job.error.message.split()).rstrip(". ")
    words = (
        f"{where}: job {job.name.rpartition('/')[2]} is {state_of(job).lower()}: {said or 'Vertex does not say why'}."
    )
    problems = [" ".join(one.message.split()).rstrip(". ") for one in job.partial_failures]
    if problems:
        more = f", and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        words += f" On the way: {'; '.join(problems[:_MOST_TOLD])}{more}."
    if progress := progress_of(job):
        words += f" Rows: {progress}."
    if output := output_of(job):
        words += f" What it wrote is below {output}."
    words += f" Its page has the log of the container: {url}"
    code = job.error.code
    if code == _PERMISSION_DENIED:
        return AccessDenied(
            f"{words}. The service account of the job, or Vertex's own (service-NUMBER@gcp-sa-aiplatform.iam."
            "gserviceaccount.com), needs roles/storage.objectUser on the buckets of input and output, and "
            "roles/artifactregistry.reader on the image",
            status=403,
        )
    if code == _RESOURCE_EXHAUSTED:
        return QuotaExceeded(
            f"{words}. A quota is used up: fewer replicas, another machine, or more under IAM & Admin, Quotas",
            status=429,
        )
    if code == _INVALID_ARGUMENT:
        return InvalidInput(words)
    return RemoteError(words, status=500)
