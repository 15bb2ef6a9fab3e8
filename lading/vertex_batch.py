"""Predict the rows of files on Vertex AI: a batch prediction job with the image that serves."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lading import storage
from lading.batch.limit import Limit
from lading.batches import VertexBatchReport
from lading.errors import AccessDenied, DeadlineExceeded, InvalidInput, InvalidReference, LadingError
from lading.targets.settings import Settings
from lading.targets.vertex.models import ModelRegistry, RevisionSpec, check_names
from lading.values import ImageRef
from lading.vertex_api import VertexApi
from lading.vertex_jobs.api import DONE, REQUEST_LABEL, RUNNING, BatchJobs, state_of
from lading.vertex_jobs.inputs import Inputs, resolve_inputs
from lading.vertex_jobs.options import JobOptions
from lading.vertex_jobs.outcome import failure_of, output_of, progress_of, report_of
from lading.wait import Deadline, poll

_CANCEL_SECONDS = 20.0
_MODEL = re.compile(r"projects/[^/]+/locations/([^/]+)/models/[^/@]+(@[^/@]+)?")
_MODEL_NAME_LENGTH = 53


@dataclass(frozen=True)
class BatchPrediction:
    """What is predicted, where. ``image`` or ``model``, one of the two, says with what."""

    project: str
    """Google Cloud project."""
    region: str
    """For instance ``europe-west4``; buckets and tables have to be within reach of it."""
    inputs: tuple[str, ...]
    """Files, directories or wildcards in ``gs://``, or one table ``bq://PROJECT.DATASET.TABLE``."""
    output: str
    """``gs://BUCKET/PREFIX``, below which each job makes a directory; or ``bq://PROJECT.DATASET``."""
    image: str = ""
    """``repository@sha256:…``, as ``package`` gives it; it is uploaded as a version of ``model_name``."""
    model: str = ""
    """``projects/P/locations/R/models/M``, ``…@VERSION`` or ``…@ALIAS``."""
    model_name: str = ""
    """Of the model that the image becomes; empty: the image's own name with ``-batch`` behind it."""
    options: JobOptions = field(default_factory=JobOptions)
    max_bad_rows: str = "10%"
    """A count, or a share as ``1%``; with more the verdict is negative."""
    run_id: str = ""
    """What tells this request from an earlier one of the same words: the id of a pipeline's run, a date."""
    restart: bool = False
    """Start a job even if the request has one that runs, or has predictions."""


def batch_predict(
    request: BatchPrediction,
    *,
    environ: Mapping[str, str],
    deadline: Deadline,
    tell: Callable[[str], None] = lambda words: None,
    most_seconds: float = 30.0,
) -> VertexBatchReport:
    """Have files predicted by a job of Vertex AI, and wait for its end.

    The same request over the same files finds the job that an earlier attempt started, and its result, unless it failed
    or was cancelled. When waiting ends in any other way than by the job's own end, an interruption or the deadline, the
    job is cancelled.

    Args:
        request: What is predicted, where.
        environ: Where Google's credentials are looked up.
        deadline: For all of it.
        tell: Is told what happens, in a line of text.
        most_seconds: The longest pause between two looks at the job.

    Raises:
        InvalidInput, InvalidReference, NotFound: the request is none that can be carried out; nothing was started.
        AccessDenied, QuotaExceeded: Vertex refuses it, or the job met with a refusal; the message says what to do.
        RemoteError: the job ended without predictions; the message has its errors.
        ServiceUnreachable: Vertex AI does not answer.
        DeadlineExceeded: the job had not ended in time.
    """
    limit = Limit.parse(request.max_bad_rows)
    _check(request)
    inputs = resolve_inputs(request.inputs, request.options.input_format, output=request.output)
    api = VertexApi.find(request.project, request.region, environ=environ)
    jobs = BatchJobs(api)
    model, digested = _find_model(request, api, jobs, deadline, tell)
    request_id = _request_id(request, inputs, digested)
    job = None if request.restart else _earlier(jobs, request_id, deadline)
    resumed = job is not None
    if job is None:
        job = jobs.start(_job(request, inputs, model, request_id), deadline=deadline)
    url = jobs.url(job.name)
    tell(f"job {job.name.rpartition('/')[2]}{' was started before' if resumed else ''}: {url}")
    try:
        done = _follow(jobs, job, deadline, tell, most_seconds)
    except BaseException:
        _cancel(jobs, job.name, tell)
        raise
    if state_of(done) not in DONE:
        raise failure_of(done, api.where, url=url)
    return report_of(done, limit, api=api, url=url, image=request.image, resumed=resumed)


def _check(request: BatchPrediction) -> None:
    if bool(request.image) == bool(request.model):
        raise InvalidInput("expected an image by digest, or the name of a model: one of the two")
    options = request.options
    if request.image:
        ImageRef.parse(request.image)
        if options.accelerator_type:
            raise InvalidInput(
                f"{options.accelerator_type}: lading's images compute on processors, an accelerator would be paid for "
                "and stand still; leave it out and take more replicas, or name a model whose container uses one"
            )
        if options.generate_explanation:
            raise InvalidInput(
                "explanations need a model that was uploaded with an explanation spec, and an image has none: upload "
                "it with one (`gcloud ai models upload --explanation-…`), and name that model"
            )
    elif not (named := _MODEL.fullmatch(request.model)):
        raise InvalidReference(
            f"expected as model projects/PROJECT/locations/REGION/models/MODEL[@VERSION], received {request.model!r}"
        )
    elif named[1] != request.region:
        raise InvalidReference(f"expected a model in {request.region}, where the job runs, received {request.model}")


def _find_model(
    request: BatchPrediction, api: VertexApi, jobs: BatchJobs, deadline: Deadline, tell: Callable[[str], None]
) -> tuple[str, str]:
    """The model's name with its version, and a name that stays the same when the version is uploaded anew."""
    if request.image:
        return _upload(request, api, deadline, tell)
    found = jobs.model(request.model, deadline=deadline)
    if request.options.generate_explanation and not found.explanation_spec:
        raise InvalidInput(
            f"{request.model} was uploaded without an explanation spec, so there is nothing to explain its predictions "
            "with: leave explanations out, or upload a version with one"
        )
    # An alias, or the default version, may be another one tomorrow.
    name = f"{found.name.partition('@')[0]}@{found.version_id}" if found.version_id else found.name
    return name, name


def _upload(
    request: BatchPrediction, api: VertexApi, deadline: Deadline, tell: Callable[[str], None]
) -> tuple[str, str]:
    """Make the image a version of a model, if it is not one yet."""
    name, settings, registry = request.model_name or _model_name(request.image), Settings(), ModelRegistry(api)
    check_names(name, settings)
    spec = RevisionSpec.of(name, request.image, settings)
    known = [one for one in registry.versions(name, deadline=deadline) if one.spec.revision == spec.revision]
    if not known:
        tell(f"uploading {request.image} as a version of the model {name}")
        known = [registry.upload(name, spec, settings, deadline=deadline)]
    return known[0].name, spec.revision


def _model_name(image: str) -> str:
    """Not the image's own name: a service of that name has its revisions as versions of the model of the name."""
    last = ImageRef.parse(image).repository.rpartition("/")[2]
    plain = re.sub(r"[^a-z0-9]+", "-", last).strip("-")
    plain = plain if plain[:1].isalpha() else f"model-{plain}"
    return f"{plain[: _MODEL_NAME_LENGTH - len('-batch')].rstrip('-')}-batch"


def _request_id(request: BatchPrediction, inputs: Inputs, model: str) -> str:
    """What a retried step finds its job by. The limit of bad rows is not of the job, so it may change."""
    content = [model, inputs.uris, inputs.content, request.output.rstrip("/"), asdict(request.options), request.run_id]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def _earlier(jobs: BatchJobs, request_id: str, deadline: Deadline) -> Any:
    """The job that an earlier attempt started, unless somebody deleted its predictions."""
    job = jobs.find(request_id, deadline=deadline)
    if job is None or state_of(job) in RUNNING:
        return job
    output = output_of(job)
    if storage.is_remote(output):
        try:
            return job if storage.list_files(output, limit=1) else None
        except AccessDenied:  # who asks may not read the data, which others use
            return job
    return job


def _job(request: BatchPrediction, inputs: Inputs, model: str, request_id: str) -> Any:
    """The job as the API takes it. Source: REST reference, ``projects.locations.batchPredictionJobs``."""
    from google.cloud.aiplatform_v1 import BatchPredictionJob, EncryptionSpec, ManualBatchTuningParameters

    options, name = request.options, model.rpartition("/")[2].partition("@")[0]
    job = BatchPredictionJob(
        display_name=f"{name}-{request_id[:10]}",
        model=model,
        input_config=_source(options, inputs),
        output_config=_destination(request.output),
        dedicated_resources=_resources(options),
        labels={**options.labels, "lading": "1", REQUEST_LABEL: request_id},
        service_account=options.service_account,
        generate_explanation=options.generate_explanation,
    )
    if options.key_field or options.included_fields or options.excluded_fields or options.instance_type:
        job.instance_config = BatchPredictionJob.InstanceConfig(
            instance_type=options.instance_type,
            key_field=options.key_field,
            included_fields=list(options.included_fields),
            excluded_fields=list(options.excluded_fields),
        )
    if options.batch_size:
        job.manual_batch_tuning_parameters = ManualBatchTuningParameters(batch_size=options.batch_size)
    if options.encryption_key:
        job.encryption_spec = EncryptionSpec(kms_key_name=options.encryption_key)
    return job


def _source(options: JobOptions, inputs: Inputs) -> Any:
    from google.cloud.aiplatform_v1 import BatchPredictionJob, BigQuerySource, GcsSource

    source: dict[str, Any] = {"gcs_source": GcsSource(uris=list(inputs.uris))}
    if options.input_format == "bigquery":
        source = {"bigquery_source": BigQuerySource(input_uri=inputs.uris[0])}
    return BatchPredictionJob.InputConfig(instances_format=options.input_format, **source)


def _destination(output: str) -> Any:
    from google.cloud.aiplatform_v1 import BatchPredictionJob, BigQueryDestination, GcsDestination

    if storage.is_remote(output):
        return BatchPredictionJob.OutputConfig(
            predictions_format="jsonl", gcs_destination=GcsDestination(output_uri_prefix=output)
        )
    return BatchPredictionJob.OutputConfig(
        predictions_format="bigquery", bigquery_destination=BigQueryDestination(output_uri=output)
    )


def _resources(options: JobOptions) -> Any:
    from google.cloud.aiplatform_v1 import AcceleratorType, BatchDedicatedResources, MachineSpec

    machine = MachineSpec(machine_type=options.machine_type)
    if options.accelerator_type:
        try:
            machine.accelerator_type = AcceleratorType[options.accelerator_type]
        except KeyError as error:
            names = ", ".join(one.name for one in AcceleratorType if one.value)
            raise InvalidInput(f"expected an accelerator ({names}), received {options.accelerator_type!r}") from error
        machine.accelerator_count = options.accelerator_count
    return BatchDedicatedResources(
        machine_spec=machine,
        starting_replica_count=options.starting_replicas,
        max_replica_count=options.max_replicas,
    )


def _follow(jobs: BatchJobs, job: Any, deadline: Deadline, tell: Callable[[str], None], most_seconds: float) -> Any:
    """Wait until the job has ended in some way; tell what changes."""
    number, seen = job.name.rpartition("/")[2], ""

    def ended() -> Any:
        nonlocal seen
        found = jobs.read(job.name, deadline=deadline)
        if found is None:
            return None
        words = ": ".join(part for part in (state_of(found), progress_of(found)) if part)
        if words != seen:
            seen = words
            tell(f"job {number}: {words}")
        return None if state_of(found) in RUNNING | {"CANCELLING", "UNSPECIFIED"} else found

    try:
        return poll(ended, deadline=deadline, what=f"job {number}", first_seconds=0.2, most_seconds=most_seconds)
    except DeadlineExceeded as error:
        raise DeadlineExceeded(
            f"{error} ({seen or 'not to be seen'}), so it is cancelled: allow more time, or more replicas. "
            f"Its page: {jobs.url(job.name)}"
        ) from error


def _cancel(jobs: BatchJobs, name: str, tell: Callable[[str], None]) -> None:
    number = name.rpartition("/")[2]
    try:
        jobs.cancel(name, deadline=Deadline.after(_CANCEL_SECONDS))
        tell(f"job {number}: cancelled")
    except LadingError as error:  # the cause of the cancellation is what has to be told
        tell(f"job {number} could not be cancelled: {error}")
