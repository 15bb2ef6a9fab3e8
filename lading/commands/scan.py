"""``lading scan``: reads a SavedModel without running it, and judges what it could do."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, read_text, table

if TYPE_CHECKING:
    from lading.results import ScanFinding, ScanReport

_EPILOG = """\
Exit code 1: a finding is of the severity `high` or graver, or of what the policy's fail_on says. What is looked for,
and how to write a policy: docs/scan.md.
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    scan = add_parser(subparsers, "scan", "look for what a SavedModel could do, without running it", epilog=_EPILOG)
    scan.add_argument("model", help="a SavedModel, or a directory of versions; local, or gs://…")
    scan.add_argument("--policy", type=Path, metavar="FILE", help="what is allowed: TOML, or JSON")
    scan.add_argument(
        "--engine",
        choices=("tensorflow", "litert"),
        default="tensorflow",
        help="what is to run the model (default: %(default)s)",
    )
    scan.add_argument("--report", type=Path, metavar="FILE", help="write the verdict here, as JSON")
    scan.add_argument("--html", type=Path, metavar="FILE", help="write the verdict here, as a page")
    scan.set_defaults(run=_scan)


def _scan(args: argparse.Namespace) -> int:
    from lading.files import write_atomic
    from lading.scan import scan_model
    from lading.scanning.policy import Policy
    from lading.values import to_json

    policy = Policy.read(read_text(args.policy), source=str(args.policy)) if args.policy else Policy()
    with _local(args.model) as model:
        verdict = scan_model(model, engine=args.engine, policy=policy)
    if args.report:
        write_atomic(args.report, to_json(verdict))
    if args.html:
        from lading.report import render_verdict

        write_atomic(args.html, render_verdict(verdict))
    emit(args, json.loads(to_json(verdict)), _words(verdict))
    return 0 if verdict.passed else 1


@contextlib.contextmanager
def _local(model: str) -> Iterator[Path]:
    """The model on this machine; one in a bucket is copied for the time of the block."""
    from lading import storage

    if not storage.is_remote(model):
        yield storage.local_path(model)
        return
    from lading.model_files import model_files

    with model_files(model) as copied:
        yield copied.directory


def _words(verdict: "ScanReport") -> str:
    rows = [
        (f"{finding.severity}{' (accepted)' if finding.accepted else ''}", finding.rule, _what(finding))
        for finding in verdict.findings
    ]
    seen = (
        f"{sum(verdict.operations.values())} operations of {len(verdict.operations)} kinds in {verdict.functions} "
        f"functions, {len(verdict.files)} files, {verdict.seconds:.2f} s"
    )
    words = "passed" if verdict.passed else f"REJECTED: at least one finding is {verdict.fail_on} or graver"
    listed = f"{table(('severity', 'rule', 'finding'), rows)}\n\n" if rows else ""
    return f"{listed}{words} ({seen})"


def _what(finding: "ScanFinding") -> str:
    count = f" (× {finding.count})" if finding.count > 1 else ""
    accepted = f" Accepted: {finding.accepted}" if finding.accepted else ""
    return f"{finding.where}{count}: {finding.text}.{accepted}"
