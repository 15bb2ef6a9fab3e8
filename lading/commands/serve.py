"""``lading serve``: serves SavedModels over HTTP and gRPC until it is told to stop."""

import argparse
import gc
import os
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser

_EPILOG = """\
Without --port the environment decides: AIP_HTTP_PORT, else PORT, else 8501. Without --grpc-port gRPC is on 8500, and
off where the environment gives the port. Protocols, options and limits: docs/serving.md.
"""


def register(subparsers: Any) -> None:
    """Add the command ``serve``."""
    parser = add_parser(subparsers, "serve", "serve SavedModels over HTTP and gRPC", epilog=_EPILOG)
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        metavar="NAME=PATH",
        help="a SavedModel, or a directory of versions (PATH/1/saved_model.pb); local, or gs://…",
    )
    add("--port", metavar="N", help="port for HTTP; 0 lets the system choose")
    add("--grpc-port", metavar="N", help="port for gRPC; 'off'; or 'instead': HTTP's port, without HTTP")
    add("--host", metavar="H", help="address to listen on (default: 0.0.0.0, all)")
    add("--engine", choices=("tensorflow", "litert", "auto"), help="what computes (default: tensorflow)")
    add("--threads", type=int, metavar="N", help="threads of the engine (default: the CPU quota)")
    add("--monitoring-config-file", type=Path, metavar="FILE", help="TensorFlow Serving's, for the path of metrics")
    add("--access-log", choices=("off", "errors", "all"), help="which requests get a line in the log (default: errors)")
    add("--request-log", type=Path, metavar="FILE", help="write a sample of requests and answers, as JSON Lines")
    add("--request-log-rate", type=float, metavar="SHARE", help="which share of requests, 0 to 1 (default: 0.01)")
    _add_models(parser)
    _add_limits(parser)
    parser.set_defaults(run=run)


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("models and versions").add_argument
    add("--model-config-file", type=Path, metavar="FILE", help="models, versions, labels: as in TensorFlow Serving")
    add("--model-config-poll", type=float, metavar="SECONDS", help="read that file again so often (default: 0, never)")
    add("--poll", type=float, metavar="SECONDS", help="look for new versions so often; 0: once (default: 1)")
    add(
        "--verify-models",
        action="store_true",
        help="refuse a model whose files are not those that the image was made of (also LADING_VERIFY_MODELS=1)",
    )
    add("--no-warm-up", action="store_true", help="do not run the warm-up requests that a model carries")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("batching and limits").add_argument
    add("--batching", action="store_true", help="put concurrent requests together")
    add("--batching-parameters-file", type=Path, metavar="FILE", help="how: as in TensorFlow Serving")
    add("--timeout", type=float, metavar="SECONDS", help="answer 504 to a prediction that takes longer (default: 30)")
    add("--max-body-bytes", type=int, metavar="N", help="answer 413 to a longer request (default: 33554432)")
    add("--max-held-bytes", type=int, metavar="N", help="answer 503 when bodies hold more (default: 268435456)")
    add("--max-queue", type=int, metavar="N", help="answer 503 when so many requests wait (default: 256)")
    add("--drain", type=float, metavar="SECONDS", help="after SIGTERM, end running requests within (default: 9)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; exit code 0 after an orderly end."""
    # Read by TensorFlow's C library when it is loaded: errors only, unless the user chose. It would warn of each bad
    # request.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Read when numpy is imported: nothing here multiplies matrices with it, and threads of its BLAS library would spin
    # at the start, on the processors that load the engine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # until it listens: what imports make is no garbage, and looking for some takes time
    from lading.serving import ServeConfig
    from lading.serving import run as serve

    config = ServeConfig.read(
        args.models,
        os.environ,
        port=args.port,
        grpc_port=args.grpc_port,
        host=args.host,
        engine=args.engine,
        threads=args.threads,
        model_config_file=args.model_config_file,
        model_config_poll_seconds=args.model_config_poll,
        poll_seconds=args.poll,
        verify_models=args.verify_models or None,
        warm_up=False if args.no_warm_up else None,
        batching=_batching(args),
        timeout_seconds=args.timeout,
        max_body_bytes=args.max_body_bytes,
        max_held_bytes=args.max_held_bytes,
        max_queue=args.max_queue,
        drain_seconds=args.drain,
        metrics_path=_metrics_path(args),
        access_log=args.access_log,
        request_log=args.request_log,
        request_log_rate=args.request_log_rate,
    )
    serve(config)
    return 0


def _batching(args: argparse.Namespace) -> Any:
    if args.batching_parameters_file:
        from lading.serving.model_config import read_batching_parameters

        return read_batching_parameters(args.batching_parameters_file)
    if args.batching:
        from lading.predict.batching import BatchingConfig

        return BatchingConfig()
    return None


def _metrics_path(args: argparse.Namespace) -> str | None:
    if args.monitoring_config_file is None:
        return None
    from lading.serving.model_config import read_monitoring_config

    return read_monitoring_config(args.monitoring_config_file)
