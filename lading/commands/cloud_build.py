"""``lading cloud-build``: an image of a Dockerfile, built on Google Cloud."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit


def register(subparsers: Any) -> None:
    """Add the command."""
    build = add_parser(subparsers, "cloud-build", "build and push an image of your own Dockerfile on Cloud Build")
    build.add_argument("source", help="a directory with a Dockerfile: a path or gs://")
    build.add_argument("--to", required=True, metavar="REPOSITORY", help="for instance europe-docker.pkg.dev/P/R/taxi")
    build.add_argument("--project", required=True, help="Google Cloud project that builds")
    build.add_argument(
        "--staging", required=True, metavar="URI", help="gs://BUCKET/PREFIX: gets the source and the log"
    )
    build.add_argument("--model", type=Path, metavar="DIR", help="a SavedModel, which the Dockerfile finds at model/")
    build.add_argument("--region", default="global", help="of the build (default: %(default)s)")
    build.add_argument("--dockerfile", default="Dockerfile", help="its path in the source (default: %(default)s)")
    build.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="of an ARG; may be repeated"
    )
    build.add_argument("--machine-type", default="", help="for instance E2_HIGHCPU_8")
    build.add_argument("--service-account", default="", metavar="EMAIL", help="who builds")
    build.add_argument(
        "--timeout", type=int, default=1800, metavar="SECONDS", help="for everything (default: %(default)s)"
    )
    build.set_defaults(run=_build)


def _build(args: argparse.Namespace) -> int:
    from lading.cloud_build import BuildRequest, build_image
    from lading.errors import InvalidInput
    from lading.wait import Deadline

    wrong = [given for given in args.build_arg if "=" not in given]
    if wrong:
        raise InvalidInput(f"expected --build-arg NAME=VALUE, received {wrong[0]!r}")
    request = BuildRequest(
        source=args.source,
        repository=args.to,
        project=args.project,
        staging=args.staging,
        region=args.region,
        dockerfile=args.dockerfile,
        build_args=dict(given.split("=", 1) for given in args.build_arg),
        machine_type=args.machine_type,
        service_account=args.service_account,
        timeout_seconds=args.timeout,
    )
    built = build_image(
        request,
        args.model,
        environ=os.environ,
        deadline=Deadline.after(args.timeout),
        tell=lambda words: print(words, file=sys.stderr),
    )
    emit(args, {"image": built.image, "build_id": built.build_id, "log_url": built.log_url}, built.image)
    return 0
