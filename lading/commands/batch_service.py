"""``lading batch-service``: batch prediction on demand, over HTTP."""

import argparse
import os
from typing import Any

from lading.commands.common import add_parser

_EPILOG = """\
Without --port the environment decides: PORT, else 8080. Doors, limits and states: docs/batch-service.md.
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(subparsers, "batch-service", "predict the rows of files on demand, over HTTP", epilog=_EPILOG)
    add = parser.add_argument
    add("--port", metavar="N", help="port for HTTP; 0 lets the system choose")
    add("--host", metavar="H", help="address to listen on (default: 0.0.0.0, all)")
    add("--engine", choices=("tensorflow", "litert", "auto"), help="what computes (default: tensorflow)")
    add("--access-log", choices=("off", "errors", "all"), help="which requests get a line in the log (default: errors)")
    places = parser.add_argument_group("places (once one is listed, no other is read or written)").add_argument
    for name, what in (("", "read and written"), ("-read", "read"), ("-write", "written")):
        places(
            f"--allow{name}",
            action="append",
            default=[],
            metavar="PREFIX",
            help=f"may be {what}: gs://BUCKET/DIR, a directory here, or a repository of images; may be repeated",
        )
    limits = parser.add_argument_group("limits").add_argument
    limits(
        "--memory-bytes",
        type=int,
        metavar="N",
        help="for runs and models (default: the container's limit, less 192 MiB)",
    )
    limits("--max-runs", type=int, metavar="N", help="runs at a time (default: one for each processor)")
    limits("--max-queue", type=int, metavar="N", help="answer 503 when so many runs wait (default: 64)")
    limits("--threads", type=int, metavar="N", help="blocks side by side in a run (default: processors and one more)")
    limits("--max-line-bytes", type=int, metavar="N", help="of a row, where a request does not say (default: 4 MiB)")
    limits("--drain", type=float, metavar="SECONDS", help="after SIGTERM, end runs and answers within (default: 9)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; exit code 0 after an orderly end."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by the C library when it is loaded: errors only
    from lading.batch.service import ServiceConfig
    from lading.batch.service import run as serve
    from lading.batch.service.access import Access

    config = ServiceConfig.read(
        os.environ,
        port=args.port,
        host=args.host,
        engine=args.engine,
        access=Access.of(args.allow, args.allow_read, args.allow_write),
        memory_bytes=args.memory_bytes,
        max_runs=args.max_runs,
        max_queue=args.max_queue,
        threads=args.threads,
        max_line_bytes=args.max_line_bytes,
        drain_seconds=args.drain,
        access_log=args.access_log,
    )
    serve(config)
    return 0
