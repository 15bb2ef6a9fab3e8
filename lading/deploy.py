"""Bring a candidate up beside what serves now; no existing traffic is touched."""

from collections.abc import Sequence

from lading.errors import RolloutInProgress
from lading.releases import Candidate
from lading.targets.base import LEASE_SECONDS, Phase, Rollout, ServiceState, Target, undo
from lading.targets.settings import Settings
from lading.values import ImageRef
from lading.wait import Deadline


def deploy_candidate(
    image: str,
    service: str,
    *,
    target: Target,
    target_name: str,
    release_id: str,
    model_diff_id: str,
    settings: Settings,
    model: str = "",
    steps: Sequence[int] = (100,),
    deadline: Deadline,
) -> Candidate:
    """Deploy an image as the candidate of a service.

    An existing service keeps its traffic split. A service that does not exist is created private, with the candidate as
    its only revision. Repeating the call is safe: the same image and settings are the same revision.

    Args:
        image: ``repository@sha256:…``.
        service: Name of the service.
        target: Where it is deployed.
        target_name: The target as the user wrote it, for the record.
        release_id: Names this release; a later step with the same id continues it.
        model_diff_id: What the revision must say of the model it serves.
        settings: How the revision runs.
        model: Name of the model on the server. Default: the last part of the image's repository.
        steps: Percentages of the traffic that ``promote`` will be asked for.
        deadline: When to give up.

    Raises:
        InvalidReference: the image has no digest.
        InvalidInput: the target does not have one of the settings, or cannot make one of the steps.
        RolloutInProgress: another release of the service is open.
        RevisionFailed: the revision will not start; the service is as it was.
    """
    reference = ImageRef.parse(image)
    settings.check(target.capabilities.settings, target_name)
    known = _settled(target, service, release_id, deadline)
    target.check_steps(service, image, steps, settings=settings, known=known, deadline=deadline)
    # A repeated step continues its own release, and must keep what that release restores.
    continued = known.rollout if known and known.rollout and known.rollout.open else None
    before = continued.before if continued else known.serving() if known else ()
    rollout = Rollout(release_id, before, (), Phase.CANDIDATE, 0.0).now(Phase.CANDIDATE, lease_seconds=LEASE_SECONDS)
    state, line = target.deploy(service, image, settings=settings, rollout=rollout, known=known, deadline=deadline)
    return Candidate(
        service=service,
        target=target_name,
        release_id=release_id,
        image=image,
        model_diff_id=model_diff_id,
        revision=line.revision,
        url=line.url,
        service_url=state.url,
        first_release=not before,
        model=model or reference.repository.rsplit("/", 1)[-1],
    )


def _settled(target: Target, service: str, release_id: str, deadline: Deadline) -> ServiceState | None:
    """The service, with any abandoned release undone.

    Raises:
        RolloutInProgress: a release other than this one is open.
    """
    known = target.get(service, deadline=deadline)
    if known is None or known.rollout is None or not known.rollout.open or known.rollout.id == release_id:
        return known
    if known.rollout.abandoned():
        return undo(target, known, deadline=deadline)
    raise RolloutInProgress(
        f"service {service} is being released by {known.rollout.id}: wait until it has ended, "
        f"or undo it with `lading settle --service {service}`"
    )
