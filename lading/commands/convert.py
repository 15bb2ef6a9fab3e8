"""``lading convert``: a SavedModel for the engine litert, with the proof that it answers as before."""

import argparse
import os
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit_verdict


def register(subparsers: Any) -> None:
    """Add the command."""
    convert = add_parser(subparsers, "convert", "convert a SavedModel for the engine litert, and compare the answers")
    convert.add_argument("model", type=Path, help="a SavedModel")
    convert.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="gets the SavedModel with its conversion; may be MODEL"
    )
    convert.add_argument(
        "--rtol",
        type=float,
        metavar="R",
        help="answers may differ by A + R × the row's largest (default: as the golden requests, at least 1e-4)",
    )
    convert.add_argument("--atol", type=float, metavar="A", help="see --rtol (default: likewise, at least 1e-5)")
    convert.add_argument("--report", type=Path, metavar="FILE", help="write the verdict here, as JSON")
    convert.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    from lading.convert import convert_model
    from lading.files import write_atomic
    from lading.values import to_json

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by the C library when it is loaded: errors only
    verdict = convert_model(args.model, args.out, rtol=args.rtol, atol=args.atol)
    if args.report:
        write_atomic(args.report, to_json(verdict))
    return emit_verdict(args, verdict)
