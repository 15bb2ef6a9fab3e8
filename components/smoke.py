"""KFP component: ask a candidate the golden requests, and judge its answers."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def smoke(
    candidate: dsl.Input[dsl.Artifact],
    golden: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    instances: str = "",
    timeout_seconds: int = 300,
) -> NamedTuple("Outputs", [("passed", bool)]):  # type: ignore[valid-type]
    """Send the golden requests to the candidate alone and compare its answers.

    Args:
        candidate: What `deploy` wrote.
        golden: Requests with known answers, as `train` writes them.
        report: The verdict, as the JSON of a SmokeReport.
        instances: Your own requests, asked beside the golden ones: the URI of a JSON file with {"instances": [...]} or
            a list of such. Every answer has to be finite. Empty: none.
        timeout_seconds: How long the whole test may take.

    Returns:
        passed: Whether the candidate, and nothing else, gave every answer rightly and fast enough.

    Raises:
        ServiceUnreachable: Nothing answers at the candidate's URL; see that it is reachable from the step.
        DeadlineExceeded: The candidate is not ready, or does not answer, in time; see its log, or raise
            `timeout_seconds`.
        InvalidInput: `candidate` or `golden` is not what `deploy` and `train` write, or `instances` no such file.
        NotFound: There is nothing at `instances`.
    """
    import os
    from pathlib import Path

    from lading.asking import parse_instances
    from lading.files import write_atomic
    from lading.releases import Candidate
    from lading.smoke import smoke_test
    from lading.storage import read_bytes
    from lading.targets.base import candidate_door
    from lading.targets.connect import connect
    from lading.values import GoldenRequest, from_json, to_json
    from lading.wait import Deadline

    deployed = from_json(Path(candidate.path).read_text(), Candidate)
    verdict = smoke_test(
        deployed,
        GoldenRequest.read_all(Path(golden.path).read_text()),
        door=candidate_door(connect(deployed.target, environ=os.environ), deployed),
        instances=parse_instances(read_bytes(instances)) if instances else (),
        deadline=Deadline.after(timeout_seconds),
    )
    write_atomic(Path(report.path), to_json(verdict))
    return (verdict.passed,)
