"""KFP component: go back to the split from before the last promotion."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def rollback(
    promotion: dsl.Output[dsl.Artifact],
    service: str,
    target: str = "local:",
    revision: str = "",
    timeout_seconds: int = 120,
) -> str:
    """Restore the traffic split from before the last promotion.

    Args:
        promotion: The change of traffic as the target reports it, as the JSON of a Promotion.
        service: Name of the service.
        target: Where the service lives.
        revision: Where all traffic goes instead of the earlier split.
        timeout_seconds: How long the change may take.

    Returns:
        The URL of the service.

    Raises:
        NotFound: There is no such service or revision; the message lists the revisions that there are.
        InvalidInput: The service has had no other split, so there is nothing to go back to; name a `revision`.
        RolloutInProgress: A release is open; wait for it, or undo it with `settle`.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os
    from pathlib import Path

    from lading.files import write_atomic
    from lading.rollback import rollback_service
    from lading.targets.connect import connect
    from lading.values import to_json
    from lading.wait import Deadline

    where, deadline = connect(target, environ=os.environ), Deadline.after(timeout_seconds)
    done = rollback_service(service, target=where, target_name=target, revision=revision, deadline=deadline)
    write_atomic(Path(promotion.path), to_json(done))
    return done.url
