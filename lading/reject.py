"""Turn a negative verdict into the red end of a run."""

from pathlib import Path

from lading.errors import InvalidInput, Rejected
from lading.files import write_atomic
from lading.report import render_verdict
from lading.results import Verdict


def reject_release(report: Verdict, html: Path) -> None:
    """Write the verdict as a page, then stop.

    Args:
        report: The negative verdict.
        html: Where the page is written.

    Raises:
        Rejected: always; it names every check that failed.
        InvalidInput: the verdict is not negative.
    """
    if report.passed:
        raise InvalidInput("expected a negative verdict to reject, received one that passed")
    write_atomic(html, render_verdict(report))
    failed = "; ".join(f"{c.name}: expected {c.expected}, received {c.received}" for c in report.checks if not c.passed)
    raise Rejected(failed)
