"""KFP component: bring a candidate up beside what serves now."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def deploy(
    candidate: dsl.Output[dsl.Artifact],
    image: str,
    model_diff_id: str,
    service: str,
    release_id: str,
    target: str = "local:",
    settings: str = "{}",
    require_signed: str = "",
    steps: str = "100",
    timeout_seconds: int = 1800,
) -> NamedTuple("Outputs", [("revision", str), ("url", str), ("scheme", str)]):  # type: ignore[valid-type]
    """Deploy an image as the candidate of a service. Traffic stays as it is.

    Args:
        candidate: What was deployed, as the JSON of a Candidate.
        image: The image as repository@sha256:….
        model_diff_id: Digest of the uncompressed model layer, which the revision must report.
        service: Name of the service; it is created when it does not exist.
        release_id: Names this release; promote and settle take the same.
        target: Where the service lives.
        settings: How the revision runs, as a JSON object such as {"memory": "512Mi", "env": {"NAME": "value"}}.
        require_signed: A public key that must have signed the image: the PEM itself, a gs:// URI, or gcpkms://….
        steps: The steps that `promote` will take: where the target cannot make one, nothing is deployed.
        timeout_seconds: How long the candidate may take to become ready.

    Returns:
        revision: Name of the candidate's revision.
        url: Where it alone answers.
        scheme: The kind of target: local, cloudrun, knative, kubernetes or vertex.

    Raises:
        Rejected: The image is not signed by the key that is required; nothing was deployed.
        InvalidReference: The image has no digest; give the output `image` of `package`.
        InvalidInput: A setting is unknown or of the wrong type, or the target cannot make one of the steps; the message
            names each.
        RolloutInProgress: Another release of the service is open; wait for it, or undo it with `settle`.
        RevisionFailed: The revision does not start; the message has its last words, and the service is as it was.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os
    from pathlib import Path

    from lading.deploy import deploy_candidate
    from lading.files import write_atomic
    from lading.promote import parse_steps
    from lading.signing.require import check_signed
    from lading.targets.connect import connect
    from lading.targets.settings import Settings
    from lading.values import to_json
    from lading.wait import Deadline

    deadline = Deadline.after(timeout_seconds)
    check_signed(image, require_signed, environ=os.environ, deadline=deadline)
    deployed = deploy_candidate(
        image,
        service,
        target=connect(target, environ=os.environ),
        target_name=target,
        release_id=release_id,
        model_diff_id=model_diff_id,
        settings=Settings.parse(settings),
        steps=parse_steps(steps),
        deadline=deadline,
    )
    write_atomic(Path(candidate.path), to_json(deployed))
    return deployed.revision, deployed.url, target.partition(":")[0]
