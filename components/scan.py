"""KFP component: look for what a SavedModel could do to whoever serves it."""

from typing import NamedTuple

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def scan(
    model: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    policy: str = "{}",
    engine: str = "tensorflow",
) -> NamedTuple("Outputs", [("passed", bool)]):  # type: ignore[valid-type]
    """Read a SavedModel without running it, and judge its operations and files by a policy.

    Args:
        model: The SavedModel.
        report: The verdict, as the JSON of a ScanReport, with the digest of every file.
        page: The verdict, for people.
        policy: What is allowed, as a JSON object: {"fail_on": "high", "allow_ops": ["ReadFile"]}.
        engine: What is to run the model: tensorflow or litert.

    Returns:
        passed: Whether no finding is as grave as the policy's fail_on.

    Raises:
        InvalidModel: There is no SavedModel, or its file is cut off or something else; take it as `train` made it.
        InvalidInput: The policy cannot be read, or has an unknown key; the message lists those that there are.
        StorageError: A file of the model cannot be read.
    """
    from pathlib import Path

    from lading.files import write_atomic
    from lading.report import render_verdict
    from lading.scan import scan_model
    from lading.scanning.policy import Policy
    from lading.values import to_json

    verdict = scan_model(Path(model.path), engine=engine, policy=Policy.read(policy))
    write_atomic(Path(report.path), to_json(verdict))
    write_atomic(Path(page.path), render_verdict(verdict))
    return (verdict.passed,)
