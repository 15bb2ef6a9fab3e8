"""KFP component: end a release that did not come to its end."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def settle(service: str, release_id: str, target: str = "local:", timeout_seconds: int = 120) -> str:
    """Undo a release that is still open: what served before it serves again. A promoted release is left alone.

    Args:
        service: Name of the service.
        release_id: The release to undo.
        target: Where the service lives.
        timeout_seconds: How long the change may take.

    Returns:
        What was done, in a few words.

    Raises:
        Conflict: The service changed in the meantime; run the step again.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os

    from lading.settle import settle_release
    from lading.targets.connect import connect
    from lading.wait import Deadline

    where, deadline = connect(target, environ=os.environ), Deadline.after(timeout_seconds)
    return settle_release(service, target=where, release_id=release_id, deadline=deadline)
