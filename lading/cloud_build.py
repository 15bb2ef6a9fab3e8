"""Build an image from a Dockerfile on Cloud Build: for servers that `lading package` does not assemble."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading import storage
from lading.building.api import CloudBuild
from lading.building.context import Context, build_context
from lading.errors import InvalidInput, InvalidReference, LadingError, RemoteError
from lading.oci.reference import Reference
from lading.values import ImageRef
from lading.wait import Deadline, poll

DOCKER = "gcr.io/cloud-builders/docker"
_LOG_LINES = 30
_CANCEL_SECONDS = 20
_TAG_DIGITS = 20


@dataclass(frozen=True)
class BuildRequest:
    """What is built, where."""

    source: str
    """A directory with a Dockerfile: a path or ``gs://``."""
    repository: str
    """Where the image goes: ``europe-docker.pkg.dev/P/R/taxi``, without a tag."""
    project: str
    """Google Cloud project."""
    staging: str
    """``gs://BUCKET/PREFIX``: gets the source, below ``source/``, and the log, below ``log/``."""
    region: str = "global"
    dockerfile: str = "Dockerfile"
    build_args: Mapping[str, str] = field(default_factory=dict)
    machine_type: str = ""
    """For instance ``E2_HIGHCPU_8``; empty: Cloud Build's own choice."""
    service_account: str = ""
    """Who builds: an e-mail address; empty: the project's default."""
    timeout_seconds: int = 1800
    """After which Cloud Build itself gives up."""


@dataclass(frozen=True)
class BuiltImage:
    """An image that Cloud Build made."""

    image: str
    """``repository@sha256:…``."""
    build_id: str
    log_url: str
    """The build's page in Google's console."""


def build_image(
    request: BuildRequest,
    model: Path | None = None,
    *,
    environ: Mapping[str, str],
    deadline: Deadline,
    tell: Callable[[str], None] = lambda words: None,
    most_seconds: float = 5.0,
) -> BuiltImage:
    """Send a directory and a model to Cloud Build, and wait for the image.

    The Dockerfile finds the SavedModel at ``model/``. When waiting ends in any other way than by the build's own end,
    an interruption or the deadline, the build is cancelled.

    Args:
        request: What is built, where.
        model: A SavedModel, or None.
        environ: Where Google's credentials are looked up.
        deadline: For all of it.
        tell: Is told what happens, in a line of text.
        most_seconds: The longest pause between two looks at the build.

    Raises:
        InvalidInput, InvalidReference, NotFound: the request is not one that can be built.
        AccessDenied, QuotaExceeded: Cloud Build or the bucket refuses; the message says what to do.
        RemoteError: the build failed; the message has the end of its log.
        ServiceUnreachable: Cloud Build does not answer.
        DeadlineExceeded: the image was not there in time.
    """
    _check(request)
    service = CloudBuild.connect(request.project, request.region, environ=environ)
    with build_context(request.source, model, request.dockerfile) as context:
        source = storage.join(request.staging, f"source/{context.sha256}.tar.gz")
        if storage.exists(source):
            tell(f"{source} is there already")
        else:
            tell(f"sending {context.size / 1e6:.1f} MB to {source}")
            storage.upload_file(context.path, source)
        tag = f"{request.repository}:source-{context.sha256[:_TAG_DIGITS]}"
        build = service.create(_build(request, context, source, tag), deadline=deadline)
    tell(f"build {build.id}: {build.log_url}")
    try:
        done = _follow(service, build.id, deadline, tell, most_seconds)
    except BaseException:
        _cancel(service, build.id, tell)
        raise
    return BuiltImage(_image_of(request, done, tag), done.id, done.log_url)


def _check(request: BuildRequest) -> None:
    if not storage.is_remote(request.staging):
        raise InvalidReference(f"expected gs://BUCKET/PREFIX for the source and the log, received {request.staging!r}")
    reference = Reference.parse(request.repository)
    if reference.tag or reference.digest:
        raise InvalidReference(f"expected a repository without a tag, received {request.repository!r}")
    if Path(request.dockerfile).is_absolute() or ".." in Path(request.dockerfile).parts:
        raise InvalidInput(f"expected the path of the Dockerfile in the source, received {request.dockerfile!r}")


def _build(request: BuildRequest, context: Context, source: str, tag: str) -> Any:
    """What Cloud Build is asked for. Source: REST reference, ``projects.locations.builds``."""
    from google.cloud.devtools.cloudbuild_v1 import Build, BuildOptions, BuildStep, Source, StorageSource
    from google.protobuf.duration_pb2 import Duration

    bucket, _, name = source.removeprefix("gs://").partition("/")
    given = [word for key, value in sorted(request.build_args.items()) for word in ("--build-arg", f"{key}={value}")]
    words = ["build", "--tag", tag, "--file", request.dockerfile, *given, "."]
    options = {"logging": BuildOptions.LoggingMode.GCS_ONLY}
    if request.machine_type:
        options["machine_type"] = _machine(request.machine_type, BuildOptions.MachineType)
    account = request.service_account
    return Build(
        source=Source(storage_source=StorageSource(bucket=bucket, object_=name)),
        # Substitutions are Cloud Build's: `$` in an argument would be one.
        steps=[BuildStep(name=DOCKER, args=[word.replace("$", "$$") for word in words])],
        images=[tag],
        timeout=Duration(seconds=request.timeout_seconds),
        logs_bucket=storage.join(request.staging, "log"),
        options=BuildOptions(**options),
        service_account=f"projects/{request.project}/serviceAccounts/{account}" if account else "",
        tags=["lading", f"source-{context.sha256[:_TAG_DIGITS]}"],
    )


def _machine(name: str, known: Any) -> Any:
    try:
        return known[name]
    except KeyError as error:
        names = ", ".join(one.name for one in known if one.value)
        raise InvalidInput(f"expected a machine type of Cloud Build ({names}), received {name!r}") from error


def _follow(
    service: CloudBuild, build_id: str, deadline: Deadline, tell: Callable[[str], None], most_seconds: float
) -> Any:
    """Wait until the build has ended in some way."""
    seen = ""

    def ended() -> Any:
        nonlocal seen
        build = service.read(build_id, deadline=deadline)
        if build.status.name != seen:
            seen = build.status.name
            tell(f"build {build_id}: {seen}")
        return None if seen in ("PENDING", "QUEUED", "WORKING", "STATUS_UNKNOWN") else build

    return poll(ended, deadline=deadline, what=f"build {build_id}", first_seconds=0.2, most_seconds=most_seconds)


def _image_of(request: BuildRequest, build: Any, tag: str) -> str:
    if build.status.name != "SUCCESS":
        raise RemoteError(_failure(request, build), status=500)
    digests = [image.digest for image in build.results.images if image.name == tag]
    if not digests:
        raise RemoteError(f"build {build.id} succeeded, and did not push {tag}", status=502)
    return str(ImageRef.parse(f"{request.repository}@{digests[0]}"))


def _failure(request: BuildRequest, build: Any) -> str:
    """What went wrong, in the service's own words, and how the log ends."""
    detail = build.failure_info.detail or build.status_detail or "it does not say why"
    where = storage.join(request.staging, f"log/log-{build.id}.txt")
    try:
        lines = storage.read_bytes(where).decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
        end = f"the end of its log ({where}):\n" + "\n".join(f"  {line}" for line in lines)
    except LadingError as error:  # the failure matters more than that its log cannot be read
        end = f"its log is at {build.log_url} ({error})"
    return f"build {build.id} ended as {build.status.name}: {detail}\n{end}"


def _cancel(service: CloudBuild, build_id: str, tell: Callable[[str], None]) -> None:
    try:
        service.cancel(build_id, deadline=Deadline.after(_CANCEL_SECONDS))
        tell(f"build {build_id}: cancelled")
    except LadingError as error:  # the cause of the cancellation is what has to be told
        tell(f"build {build_id} could not be cancelled: {error}")
