"""Package a model, and attach to the image what can be said of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lading.flows.statements import attach_to_image, check_attachable
from lading.package import SECONDS, package_image
from lading.provenance import BUILDER, Build
from lading.results import PackagedImage
from lading.signing.keys import load_signer
from lading.wait import Deadline


@dataclass(frozen=True, kw_only=True)
class Vouching:
    """What is said of an image."""

    sbom: bool = False
    """A list of what is in it."""
    provenance: bool = False
    """How it was made."""
    sign_key: str = ""
    """Who signs it and the statements: a PEM file, ``gs://`` or ``gcpkms://…``; empty: nobody."""
    builder: str = BUILDER
    """URI of what ran the build."""
    invocation: str = ""
    """Identifies the run: the id of a pipeline job."""

    @property
    def wanted(self) -> bool:
        """Whether anything is said at all."""
        return self.sbom or self.provenance or bool(self.sign_key)


def package_vouched(
    model: str,
    to: str,
    vouching: Vouching,
    *,
    environ: Mapping[str, str],
    deadline: Deadline | None = None,
    **options: Any,
) -> PackagedImage:
    """``package_image``, then statements about the image, and signatures. Safe to repeat.

    A key or a place that cannot be used is told before anything is sent.

    Args:
        model: As ``package_image`` takes it.
        to: As there; an archive takes no statements.
        vouching: What is said.
        environ: Where credentials and this user's state lie.
        deadline: For everything.
        options: Further ones of ``package_image``.

    Raises:
        LadingError: as ``package_image``, ``load_signer`` and ``attach_to_image``.
    """
    deadline = deadline or Deadline.after(SECONDS)
    signer = None
    if vouching.wanted:
        check_attachable(to)
        signer = load_signer(vouching.sign_key, environ=environ, deadline=deadline) if vouching.sign_key else None
    made = package_image(model, to, environ=environ, deadline=deadline, **options)
    if vouching.wanted:
        build = Build(
            model,
            options.get("base", "host"),
            made.base,
            made.runtime,
            options.get("platform", ""),
            builder=vouching.builder,
            invocation=vouching.invocation,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        attach_to_image(
            made.image,
            sbom=vouching.sbom,
            build=build if vouching.provenance else None,
            signer=signer,
            environ=environ,
            deadline=deadline,
        )
    return made
