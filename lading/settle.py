"""End a release that did not come to its end: what served before it serves again."""

from lading.targets.base import Target, undo
from lading.wait import Deadline


def settle_release(service: str, *, target: Target, release_id: str, deadline: Deadline) -> str:
    """Undo the open release of a service; a release that has ended is left alone.

    The candidate loses its tag, the split from before is restored, and a service that the release created is deleted.
    Repeating the call changes nothing.

    Args:
        service: Name of the service.
        target: Where it lives.
        release_id: The release to undo. Empty: any open release, also one that still runs.
        deadline: When to give up.

    Returns:
        What was done, in a few words.

    Raises:
        Conflict: the service changed in the meantime.
    """
    known = target.get(service, deadline=deadline)
    if known is None or known.rollout is None or not known.rollout.open:
        return "nothing to undo"
    if release_id and known.rollout.id != release_id:
        return f"nothing to undo: the open release is {known.rollout.id}"
    if undo(target, known, deadline=deadline) is None:
        return f"deleted service {service}, which this release had created"
    return "restored the traffic from before the release"
