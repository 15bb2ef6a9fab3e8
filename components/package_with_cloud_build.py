"""KFP component: build an image from a Dockerfile of one's own, on Cloud Build."""

from typing import Dict, NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def package_with_cloud_build(
    model: dsl.Input[dsl.Model],
    source: str,
    repository: str,
    project: str,
    staging: str,
    region: str = "global",
    dockerfile: str = "Dockerfile",
    build_args: Dict[str, str] = {},  # noqa: B006  kfp compiles no None
    machine_type: str = "",
    service_account: str = "",
    timeout_seconds: int = 1800,
) -> NamedTuple("Outputs", [("image", str), ("build_id", str)]):  # type: ignore[valid-type]
    """Build and push an image whose Dockerfile finds the SavedModel at model/, on Cloud Build.

    Args:
        model: The SavedModel.
        source: A directory with a Dockerfile and what else it needs: gs://BUCKET/PREFIX.
        repository: Where the image goes, without a tag: europe-docker.pkg.dev/PROJECT/REPOSITORY/NAME.
        project: Google Cloud project that builds.
        staging: gs://BUCKET/PREFIX, which gets the source that is sent, and the log.
        region: Of the build: global, or a region such as europe-west4.
        dockerfile: Path of the Dockerfile in the source.
        build_args: Values of the Dockerfile's ARGs.
        machine_type: For instance E2_HIGHCPU_8. Empty: Cloud Build's own choice.
        service_account: Who builds, an e-mail address. Empty: the project's default.
        timeout_seconds: How long sending, building and pushing may take.

    Returns:
        image: The image as repository@sha256:….
        build_id: The build, on whose page in Google's console all of it can be read.

    Raises:
        InvalidInput: The source has no such Dockerfile, or Cloud Build refuses what was sent.
        InvalidReference: The repository has a tag, or `staging` is not in Cloud Storage.
        AccessDenied: Cloud Build or the bucket refuses; the message names the role that is missing.
        QuotaExceeded: A quota of Cloud Build is used up.
        RemoteError: The build failed; the message has the end of its log.
        DeadlineExceeded: The image was not there in time; the build was cancelled.
        ServiceUnreachable: Cloud Build does not answer.
    """
    import logging
    import os
    import signal
    import sys
    from pathlib import Path

    from lading.cloud_build import BuildRequest, build_image
    from lading.wait import Deadline

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # As an exception, so that a step that is cancelled cancels its build.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    built = build_image(
        BuildRequest(
            source=source,
            repository=repository,
            project=project,
            staging=staging,
            region=region,
            dockerfile=dockerfile,
            build_args=build_args,
            machine_type=machine_type,
            service_account=service_account,
            timeout_seconds=timeout_seconds,
        ),
        Path(model.path),
        environ=os.environ,
        deadline=Deadline.after(timeout_seconds),
        tell=logging.info,
    )
    return built.image, built.build_id
