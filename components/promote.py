"""KFP component: give a candidate all of the traffic."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def promote(
    candidate: dsl.Input[dsl.Artifact],
    report: dsl.Input[dsl.Artifact],
    promotion: dsl.Output[dsl.Artifact],
    steps: str = "100",
    hold_seconds: int = 0,
    public: bool = False,
    instances: str = "",
    timeout_seconds: int = 1800,
) -> NamedTuple("Outputs", [("url", str), ("passed", bool)]):  # type: ignore[valid-type]
    """Send the traffic of the service to a candidate that passed its smoke test, all at once or in watched steps.

    Args:
        candidate: What `deploy` wrote.
        report: The passing verdict of `smoke` on this candidate.
        promotion: The change of traffic as the target reports it, as the JSON of a Promotion.
        steps: Percentages of the traffic that rise to 100, such as 5,25,100. In each the candidate is asked what the
            smoke test asked, and judged; if it is not good enough, what served before gets its traffic back.
        hold_seconds: How long each step is watched, at least. 0 with one step: it is not watched.
        public: Whether everyone may ask the service from then on.
        instances: Your own requests, asked beside those of the smoke test: as of `smoke`. With them also one step
            without hold is watched.
        timeout_seconds: How long everything may take, besides the holding.

    Returns:
        url: The URL of the service.
        passed: Whether the candidate has all of the traffic.

    Raises:
        InvalidInput: The verdict is negative, or is about another revision or image; promote what `smoke` tested. Or
            the steps do not rise to 100, or `instances` is no file of requests.
        NotFound: There is nothing at `instances`.
        RolloutInProgress: The release was undone, or another one holds the service; deploy again.
        Conflict: The service changed in the meantime; run the step again.
        ServiceUnreachable: The target does not answer; see that it is reachable from the step.
    """
    import os
    from pathlib import Path

    from lading.asking import parse_instances
    from lading.files import write_atomic
    from lading.flows.rollout import promote_watched
    from lading.observe import Questions
    from lading.promote import parse_steps
    from lading.releases import Candidate, SmokeReport
    from lading.storage import read_bytes
    from lading.targets.connect import connect
    from lading.values import from_json, to_json
    from lading.wait import Deadline

    deployed = from_json(Path(candidate.path).read_text(), Candidate)
    verdict = from_json(Path(report.path).read_text(), SmokeReport)
    percentages = parse_steps(steps)
    done = promote_watched(
        deployed,
        verdict,
        target=connect(deployed.target, environ=os.environ),
        steps=percentages,
        hold_seconds=hold_seconds,
        questions=Questions.of(verdict, parse_instances(read_bytes(instances))) if instances else None,
        public=public,
        deadline=Deadline.after(timeout_seconds + hold_seconds * len(percentages)),
    )
    write_atomic(Path(promotion.path), to_json(done))
    return done.url, done.passed
