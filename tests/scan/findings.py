"""Short words for what a scan found, and for the graph that a test changes."""

from typing import Any

from lading.results import ScanFinding, ScanReport


def found(report: ScanReport) -> list[tuple[str, str]]:
    return [(finding.severity, finding.rule) for finding in report.findings]


def only(report: ScanReport) -> ScanFinding:
    (finding,) = report.findings
    return finding


def serving_function(saved: Any) -> Any:
    functions = saved.meta_graphs[0].graph_def.library.function
    return next(f for f in functions if f.signature.name.startswith("__inference_serve"))
