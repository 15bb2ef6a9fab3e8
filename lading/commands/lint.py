"""``lading lint``: what breaks a compiled pipeline, and where."""

import argparse
import dataclasses
from typing import Any

from lading.commands.common import add_parser, emit


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "lint",
        "tell what breaks a compiled pipeline on Vertex, on KFP or locally",
        epilog="exit codes: 0 nothing that breaks, 1 something, 2 not a compiled pipeline. The rules: docs/lint.md",
    )
    parser.add_argument("pipelines", nargs="+", metavar="FILE", help="compiled pipelines (.yaml), or names (release)")
    parser.add_argument(
        "--for", dest="backends", default="vertex,kfp,local", metavar="LIST", help="where it is to run (default: all)"
    )
    parser.add_argument("--strict", action="store_true", help="let warnings count as well")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.flows.catalog import find_pipeline
    from lading.spec.ir import Pipeline
    from lading.spec.lint import lint

    backends = [word.strip() for word in args.backends.split(",")]
    found = {name: lint(Pipeline.load(find_pipeline(name)), backends) for name in args.pipelines}
    data = [{"pipeline": name, **dataclasses.asdict(one)} for name, findings in found.items() for one in findings]
    emit(args, data, "\n\n".join(_words(name, findings) for name, findings in found.items()))
    counted = ("error", "warning") if args.strict else ("error",)
    return 1 if any(one["severity"] in counted for one in data) else 0


def _words(name: str, findings: list[Any]) -> str:
    if not findings:
        return f"{name}: nothing found"
    lines = []
    for one in findings:
        lines.append(f"{name}: {one.severity} on {', '.join(one.backends)}: {one.where} {one.message}.")
        lines.append(f"    {one.rule}: {one.remedy}")
    return "\n".join(lines)
