"""KFP component: give a candidate all of the traffic."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def promote(
    candidate: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.Artifact],
    promotion: dsl.Output[dsl.Artifact],
    timeout_seconds: int = 120,
) -> str:
    """Send all traffic of the service to a candidate that passed its smoke test.

    Args:
        candidate: What `deploy` wrote.
        report: The passing verdict of `smoke` on this candidate.
        promotion: The change of traffic as the target reports it, as the JSON of a Promotion.
        timeout_seconds: How long the change may take.

    Returns:
        The URL of the service.

    Raises:
        InvalidInput: The verdict is negative, or is about another revision or image; promote what `smoke` tested.
        RolloutInProgress: The release was undone, or another one holds the service; deploy again.
        Conflict: The service changed in the meantime; run the step again.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os
    from pathlib import Path

    from lading.files import write_atomic
    from lading.promote import promote_candidate
    from lading.results import Candidate, SmokeReport
    from lading.targets.connect import connect
    from lading.values import from_json, to_json
    from lading.wait import Deadline

    deployed = from_json(Path(candidate.path).read_text(), Candidate)
    verdict = from_json(Path(report.path).read_text(), SmokeReport)
    target, deadline = connect(deployed.target, environ=os.environ), Deadline.after(timeout_seconds)
    done = promote_candidate(deployed, verdict, target=target, deadline=deadline)
    write_atomic(Path(promotion.path), to_json(done))
    return done.url
