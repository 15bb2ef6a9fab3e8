"""KFP component: turn a negative verdict into the red end of a run."""

from kfp import dsl

from components.images import STEPS


@dsl.component(base_image=STEPS, install_kfp_package=False)
def reject(report: dsl.Input[dsl.Artifact], page: dsl.Output[dsl.HTML]):
    """Write a negative verdict as a page and fail, so that no run with a rejected model ends green.

    Args:
        report: A verdict of `evaluate`, `scan`, `convert` or `smoke` that did not pass.
        page: The verdict, for people.

    Raises:
        Rejected: Always: the message names every check that failed. Train a better model, or lower the threshold.
        InvalidInput: The verdict is not negative; put this step behind `passed == False`.
    """
    from pathlib import Path

    from lading.reject import reject_release
    from lading.results import verdict_from_json

    reject_release(verdict_from_json(Path(report.path).read_text()), Path(page.path))
