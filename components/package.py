"""KFP component: turn a SavedModel into a serving image."""

from typing import NamedTuple, Optional

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def package(
    model: dsl.Input[dsl.Model],
    packaged: dsl.Output[dsl.Artifact],
    repository: str,
    scan_report: Optional[dsl.Input[dsl.Artifact]] = None,
    base: str = "host",
    platform: str = "",
    runtime: str = "",
    sign_key: str = "",
    sbom: bool = False,
    provenance: bool = False,
    job_id: str = "",
) -> NamedTuple("Outputs", [("image", str), ("model_diff_id", str)]):  # type: ignore[valid-type]
    """Turn a SavedModel into a serving image, without Docker.

    Args:
        model: The SavedModel.
        packaged: What was made, as the JSON of a PackagedImage.
        repository: Where the image goes: HOST/NAME[:TAG] in a registry, or lading.local/NAME on this machine.
        scan_report: What `scan` wrote about this model. With it a model that has changed since, or that the scan
            rejected, is refused.
        base: The image below the model, by tag or digest. host: empty, for the local target.
        platform: Of a base for several, such as linux/arm64. Empty: that of the machine that runs this step.
        runtime: The server in the base: lading or tf-serving. Empty: lading.
        sign_key: Signs the image and what is attached: a gs:// URI of a PEM, or gcpkms://…. Empty: nobody does.
        sbom: Whether a bill of materials is attached.
        provenance: Whether it is attached how the image was made.
        job_id: Of the run, for the provenance.

    Returns:
        image: The image as repository@sha256:….
        model_diff_id: Digest of the uncompressed model layer.

    Raises:
        InvalidModel: The directory is not a SavedModel; give the output `model` of `train`, or of `model.export`. Or
            the base serves with LiteRT, and the model was not converted. Or a file is not what it was when it was
            scanned; the message names it.
        InvalidInput: The scan rejected the model; see its report.
        InvalidReference: The repository or the base cannot be used; the message says what can.
        NotFound: The base does not exist, or not for the platform.
        AccessDenied: The registry refuses; the message names the role that is missing.
        ServiceUnreachable: The registry does not answer.
        StorageError: The disk is full, or a file of the model changed meanwhile; no image was tagged.
    """
    import os
    from pathlib import Path

    from lading.files import write_atomic
    from lading.flows.vouched import Vouching, package_vouched
    from lading.provenance import PIPELINE_BUILDER
    from lading.scanning.compare import read_report
    from lading.values import to_json

    made = package_vouched(
        model.path,
        repository,
        Vouching(sbom=sbom, provenance=provenance, sign_key=sign_key, builder=PIPELINE_BUILDER, invocation=job_id),
        base=base,
        platform=platform,
        runtime=runtime,
        scanned=None if scan_report is None else read_report(Path(scan_report.path)),
        environ=os.environ,
    )
    write_atomic(Path(packaged.path), to_json(made))
    return made.image, made.model_diff_id
