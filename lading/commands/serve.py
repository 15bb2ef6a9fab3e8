"""``lading serve``: serves SavedModels over HTTP until it is told to stop."""

import argparse
import os
from typing import Any

from lading.commands.common import add_parser


def register(subparsers: Any) -> None:
    """Add the command ``serve``."""
    parser = add_parser(
        subparsers,
        "serve",
        "serve SavedModels over HTTP",
        epilog="Without --port the environment decides: AIP_HTTP_PORT, else PORT, else 8501.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="NAME=PATH",
        help="a SavedModel, or a directory of versions (PATH/1/saved_model.pb)",
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on; 0 lets the system choose")
    parser.add_argument("--host", metavar="H", help="address to listen on (default: 0.0.0.0, all)")
    parser.add_argument("--engine", choices=("tensorflow",), default="tensorflow", help="what computes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; exit code 0 after an orderly end."""
    # Read by TensorFlow's C library when it is loaded: errors only, unless the user chose. It would warn of each bad
    # request.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from lading.serving import ServeConfig
    from lading.serving import run as serve

    serve(ServeConfig.read(args.models, os.environ, port=args.port, host=args.host, engine=args.engine))
    return 0
