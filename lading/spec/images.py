"""The images that steps run in: from version tags, as they are committed, to digests, as they are sent."""

import copy
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lading.errors import AccessDenied, InvalidReference, NotFound
from lading.oci.reference import Reference
from lading.oci.registry import resolve_image
from lading.spec.ir import Pipeline
from lading.wait import Deadline

OWN_PREFIX = "lading/"
"""Images of lading itself are committed as ``lading/NAME:VERSION``: no registry, so that a team names its own."""


def pin_images(pipeline: Pipeline, prefix: str, *, environ: Mapping[str, str], deadline: Deadline) -> Pipeline:
    """The pipeline with every container's image by digest.

    Args:
        pipeline: As compiled; it is left alone.
        prefix: Of a repository, for instance ``europe-docker.pkg.dev/PROJECT/lading``: ``lading/steps:0.1.0`` is looked
            up there. Empty: as the pipeline has it.
        environ: Where credentials of registries are looked up.
        deadline: For all registries together.

    Raises:
        NotFound: an image does not exist; says how to publish it.
        AccessDenied: the registry refuses us.
        ServiceUnreachable: a registry does not answer.
        InvalidReference: the prefix or an image cannot be read.
    """
    return with_images(pipeline, resolve_images(pipeline.images(), prefix, environ=environ, deadline=deadline))


def resolve_images(
    images: Iterable[str], prefix: str, *, environ: Mapping[str, str], deadline: Deadline
) -> dict[str, str]:
    """For each image its name by digest, as its registry answers now.

    An image that a parameter of the pipeline names (``{{$.inputs…}}``) is left out: it is known when the step starts.

    Args:
        images: As a pipeline names them.
        prefix: As in ``pin_images``.
        environ: Where credentials of registries are looked up.
        deadline: For all registries together.

    Raises:
        NotFound: an image does not exist; says how to publish it.
        AccessDenied: the registry refuses us.
        ServiceUnreachable: a registry does not answer.
        InvalidReference: the prefix or an image cannot be read.
    """
    names = {image: place(image, prefix) for image in images if "{{" not in image}
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda name: _resolve(name, environ, deadline), names.values()))
    return dict(zip(names, found, strict=True))


def place(image: str, prefix: str) -> str:
    """Where an image is to be found: lading's own below the prefix, any other where it says.

    Raises:
        InvalidReference: the prefix has a tag or digest, or is none.
    """
    if not prefix or not image.startswith(OWN_PREFIX):
        return image
    reference = Reference.parse(prefix.rstrip("/"))
    if reference.tag or reference.digest:
        raise InvalidReference(f"expected a repository prefix without tag or digest, received {prefix!r}")
    return f"{prefix.rstrip('/')}/{image.removeprefix(OWN_PREFIX)}"


def with_images(pipeline: Pipeline, names: Mapping[str, str]) -> Pipeline:
    """The pipeline with images renamed; those that ``names`` does not have stay."""
    spec = copy.deepcopy(pipeline.spec)
    for executor in spec.get("deploymentSpec", {}).get("executors", {}).values():
        container = executor.get("container", {})
        if container.get("image") in names:
            container["image"] = names[container["image"]]
    return replace(pipeline, spec=spec)


def _resolve(image: str, environ: Mapping[str, str], deadline: Deadline) -> str:
    try:
        return resolve_image(image, environ=environ, deadline=deadline)
    except (NotFound, AccessDenied) as error:
        if image.startswith(OWN_PREFIX):
            raise NotFound(
                f"{image} is a name without a registry: publish the step images with "
                "`lading images push --to PREFIX`, and say --images PREFIX"
            ) from error
        if isinstance(error, NotFound):
            raise NotFound(f"{error}; step images are published with `lading images push --to PREFIX`") from error
        raise AccessDenied(
            f"{error}. If the image exists: `docker login`, or for Artifact Registry "
            "`gcloud auth application-default login` and roles/artifactregistry.reader",
            status=error.status,
        ) from error
