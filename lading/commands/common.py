"""What every command shares: its common options, and how it prints for people and for machines."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.releases import RolloutReport
    from lading.results import Verdict


def add_parser(subparsers: Any, name: str, help: str, **options: Any) -> argparse.ArgumentParser:
    """A command's parser with ``--json`` and ``--debug``; ``help`` is its line in the table of commands."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=options.pop("description", f"{help[0].upper()}{help[1:]}."),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
    parser.add_argument("--debug", action="store_true", help="on an error show the traceback")
    return parser


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """The ways to give a pipeline its parameters; ``lading.spec.parameters.gather_parameters`` reads them."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the pipeline; may be repeated"
    )
    parser.add_argument(
        "--parameters", metavar="FILE", help="YAML with more of them; the environment gives LADING_PARAM_NAME"
    )


def add_ingress(parser: argparse.ArgumentParser) -> None:
    """Where a command that asks services finds those of a Knative cluster; for ``targets.connect.connect``."""
    parser.add_argument(
        "--ingress",
        default="",
        metavar="HOST:PORT",
        help="of a Knative cluster, where the names of its services lead nowhere from here",
    )


def add_timeout(parser: argparse.ArgumentParser, seconds: float) -> None:
    """How long a command may take, when all that it does shares one deadline."""
    parser.add_argument(
        "--timeout", type=float, default=seconds, metavar="SECONDS", help="for everything (default: %(default)s)"
    )


def emit(args: argparse.Namespace, data: Any, text: str) -> None:
    """Print ``data`` as JSON when ``--json`` was given, else ``text``."""
    print(json.dumps(data, indent=1) if args.json else text)


def emit_verdict(args: argparse.Namespace, verdict: "Verdict | RolloutReport") -> int:
    """Print a verdict, check by check; the exit code is 0 when it is positive, else 1."""
    from lading.values import to_json

    rows = [(c.name, "passed" if c.passed else "FAILED", c.expected, c.received) for c in verdict.checks]
    emit(args, json.loads(to_json(verdict)), table(("check", "", "expected", "received"), rows))
    return 0 if verdict.passed else 1


def read_text(path: Path) -> str:
    """The text of a file that the caller named.

    Raises:
        NotFound: there is no such file.
    """
    from lading.storage import read_bytes

    return read_bytes(str(path)).decode()


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in plain text; columns as wide as their longest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
