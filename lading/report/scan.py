"""A scan as it is drawn: findings by severity, and the operations by how often they occur."""

from dataclasses import dataclass

from lading.results import ScanFinding, ScanReport

_ORDER = ("critical", "high", "medium", "low", "info")
_MOST_OPERATIONS = 20


@dataclass(frozen=True)
class ScanView:
    """What the page shows beside the checks of the report."""

    report: ScanReport
    counts: tuple[tuple[str, int], ...]
    """How many findings count of each severity that there is, the gravest first."""
    counting: tuple[ScanFinding, ...]
    accepted: tuple[ScanFinding, ...]
    """Those that the policy accepts, with its reasons."""
    operations: tuple[tuple[str, int], ...]
    """The most frequent."""
    more_operations: int
    """How many kinds there are besides."""
    total: int
    """Operations in all."""


def view_scan(report: ScanReport) -> ScanView:
    """Choose what is drawn of a scan."""
    counting = tuple(finding for finding in report.findings if not finding.accepted)
    frequent = sorted(report.operations.items(), key=lambda item: (-item[1], item[0]))
    by_severity = {s: sum(finding.count for finding in counting if finding.severity == s) for s in _ORDER}
    return ScanView(
        report=report,
        counts=tuple((severity, count) for severity, count in by_severity.items() if count),
        counting=counting,
        accepted=tuple(finding for finding in report.findings if finding.accepted),
        operations=tuple(frequent[:_MOST_OPERATIONS]),
        more_operations=max(0, len(frequent) - _MOST_OPERATIONS),
        total=sum(report.operations.values()),
    )
