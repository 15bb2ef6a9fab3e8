"""Puts the images that ``make images`` built into a team's registry, by way of Docker."""

import subprocess
from collections.abc import Mapping
from typing import IO

from lading.errors import AccessDenied, LadingError, NotFound, ServiceUnreachable
from lading.flows.catalog import shipped
from lading.oci.registry import resolve_image
from lading.spec.images import OWN_PREFIX, place
from lading.spec.ir import Pipeline
from lading.wait import Deadline

_RESOLVE_SECONDS = 60.0
# What Docker and registries say, in lower case; Docker has one exit code for everything.
_DENIED = ("denied", "unauthorized", "authentication required", "no basic auth credentials", "forbidden")
_NO_REPOSITORY = ("name unknown", "name_unknown")
_UNREACHABLE = (
    "dial tcp",
    "no such host",
    "timeout",
    "connection re",
    "eof",
    "tls:",
    "x509:",
    "http response to https",
)


def step_images() -> list[str]:
    """The images that the steps of lading's pipelines run in, as they are committed: ``lading/steps:VERSION``."""
    images = {image for path in shipped("pipelines").values() for image in Pipeline.load(path).images()}
    return sorted((image for image in images if image.startswith(OWN_PREFIX)), key=lambda image: image.split(":"))


def serving_images() -> list[str]:
    """The bases for serving, to which ``lading package`` adds a model, one for each engine; tagged as steps are."""
    tag = step_images()[0].partition(":")[2]
    return [f"{OWN_PREFIX}serving-{engine}:{tag}" for engine in ("litert", "tensorflow")]


def project_images() -> list[str]:
    """What ``make images`` builds: images of steps, that of batch prediction among them, and bases for serving."""
    return [*step_images(), *serving_images()]


def is_built(image: str, *, environ: Mapping[str, str]) -> bool:
    """Whether Docker on this machine has the image.

    Raises:
        LadingError: there is no Docker, or this user may not use it.
        ServiceUnreachable: its daemon does not answer.
    """
    done = _docker(environ, "image", "inspect", "--format", "{{.Id}}", image)
    if done.returncode and "no such image" not in done.stderr.lower():
        raise _daemon_error(_said(done))
    return not done.returncode


def push_images(prefix: str, *, environ: Mapping[str, str], progress: IO[str] | None = None) -> list[str]:
    """Push the images of the project below a prefix, with Docker's logins. None is pushed before all are there.

    Args:
        prefix: Of a repository, for instance ``europe-docker.pkg.dev/PROJECT/lading``.
        environ: Of the docker command; credentials of registries are looked up there too.
        progress: A file where Docker may show how far it is.

    Returns:
        The images in the registry, each as ``NAME@sha256:…``.

    Raises:
        NotFound: an image was not built here, or the registry has no such repository.
        AccessDenied: the registry refuses us.
        ServiceUnreachable: Docker's daemon or the registry does not answer.
        InvalidReference: the prefix is none.
        LadingError: there is no Docker, or it fails otherwise.
    """
    places = {image: place(image, prefix) for image in project_images()}
    missing = [image for image in places if not is_built(image, environ=environ)]
    if missing:
        raise NotFound(
            f"Docker has no image {' and no '.join(missing)}: build with `make images` in a checkout of lading"
        )
    return [_push(image, there, environ, progress) for image, there in places.items()]


def _push(image: str, there: str, environ: Mapping[str, str], progress: IO[str] | None) -> str:
    for words in (("tag", image, there), ("push", there) if progress else ("push", "--quiet", there)):
        done = _docker(environ, *words, stdout=progress)
        if done.returncode:
            raise _push_error(there, _said(done))
    return resolve_image(there, environ=environ, deadline=Deadline.after(_RESOLVE_SECONDS))


def _docker(
    environ: Mapping[str, str], *words: str, stdout: IO[str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command = ["docker", *words]
    try:
        return subprocess.run(
            command, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(environ), check=False
        )
    except OSError as error:
        raise LadingError(
            "images are looked up and published with the docker command (Debian: apt-get install docker.io), on the "
            f"machine that built them; it could not be started: {error.strerror}. What was assembled without Docker is "
            "published with `lading push`"
        ) from error


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    return " ".join(done.stderr.split())


def _push_error(image: str, said: str) -> LadingError:
    lower = said.lower()
    if "docker daemon" in lower:
        return _daemon_error(said)
    if any(words in lower for words in _NO_REPOSITORY):
        return NotFound(
            f"{image}: the registry has no such repository ({said}). Make it first; for Artifact Registry "
            "`gcloud artifacts repositories create NAME --repository-format=docker --location=LOCATION`"
        )
    if any(words in lower for words in _DENIED):
        return AccessDenied(
            f"{image}: the registry refuses the push ({said}). Log in first: `docker login HOST`, or for Artifact "
            "Registry `gcloud auth configure-docker HOST`; who pushes needs roles/artifactregistry.writer",
            status=403,
        )
    if any(words in lower for words in _UNREACHABLE):
        return ServiceUnreachable(
            f"{image}: Docker's daemon does not reach the registry ({said}). Look at the host in --to, and at the "
            "network and proxy of the daemon"
        )
    return LadingError(f"{image}: Docker could not push it ({said})")


def _daemon_error(said: str) -> LadingError:
    if "permission denied" in said.lower():
        return LadingError(
            f"this user may not use Docker ({said}). Join the group docker (`sudo usermod -aG docker "
            "USER`, then log in anew), or run the command as one who may"
        )
    return ServiceUnreachable(f"Docker's daemon does not answer: start it, or set DOCKER_HOST ({said})")
