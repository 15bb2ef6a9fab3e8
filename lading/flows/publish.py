"""Puts the step images that ``make images`` built into a team's registry, by way of Docker."""

import subprocess
from collections.abc import Mapping

from lading.errors import AccessDenied, LadingError, NotFound, ServiceUnreachable
from lading.flows.catalog import find_pipeline
from lading.oci.registry import resolve_image
from lading.spec.images import OWN_PREFIX, place
from lading.spec.ir import Pipeline
from lading.wait import Deadline

_RESOLVE_SECONDS = 60.0


def step_images() -> list[str]:
    """The images that the steps of the release pipeline run in, as they are committed: ``lading/steps:VERSION``."""
    images = Pipeline.load(find_pipeline("release")).images()
    return sorted((image for image in images if image.startswith(OWN_PREFIX)), key=lambda image: image.split(":"))


def is_built(image: str, *, environ: Mapping[str, str]) -> bool:
    """Whether Docker on this machine has the image.

    Raises:
        LadingError: there is no Docker.
        ServiceUnreachable: its daemon does not answer.
    """
    done = _docker(environ, "image", "inspect", "--format", "{{.Id}}", image)
    if done.returncode and "no such" not in done.stderr.lower():
        raise ServiceUnreachable(_daemon_words(done.stderr))
    return not done.returncode


def push_image(image: str, prefix: str, *, environ: Mapping[str, str]) -> str:
    """Push an image below a prefix, with the logins that Docker has.

    Returns:
        The image in the registry, as ``NAME@sha256:…``.

    Raises:
        NotFound: it was not built here.
        AccessDenied: the registry refuses us.
        ServiceUnreachable: Docker's daemon or the registry does not answer.
        InvalidReference: the prefix is none.
    """
    there = place(image, prefix)
    if not is_built(image, environ=environ):
        raise NotFound(f"Docker has no image {image}: build it with `make images` in a checkout of lading")
    for words in (("tag", image, there), ("push", "--quiet", there)):
        done = _docker(environ, *words)
        if done.returncode:
            raise _push_error(there, done.stderr.strip())
    return resolve_image(there, environ=environ, deadline=Deadline.after(_RESOLVE_SECONDS))


def _docker(environ: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(["docker", *words], capture_output=True, text=True, env=dict(environ), check=False)
    except FileNotFoundError as error:
        raise LadingError(
            "publishing step images needs the docker command (Debian: apt-get install docker.io), on the machine that "
            "built them"
        ) from error


def _push_error(image: str, said: str) -> LadingError:
    lower = said.lower()
    if "cannot connect to the docker daemon" in lower:
        return ServiceUnreachable(_daemon_words(said))
    if any(words in lower for words in ("denied", "unauthorized", "authentication", "no basic auth")):
        return AccessDenied(
            f"{image}: {said}. Log in first: `docker login`, or for Artifact Registry "
            "`gcloud auth configure-docker HOST`; who pushes needs roles/artifactregistry.writer",
            status=403,
        )
    return ServiceUnreachable(f"{image} could not be pushed: {said}")


def _daemon_words(said: str) -> str:
    return f"Docker's daemon does not answer: start it, or set DOCKER_HOST ({said.strip()})"
