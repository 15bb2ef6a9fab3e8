"""What ``lading submit`` and ``lading schedule create`` share: their options, and what they make of them."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parameters, table

if TYPE_CHECKING:
    from lading.backends.base import Backend, Submission
    from lading.flows.preflight import Cargo

REQUEST_SECONDS = 60.0
"""For what is asked once: the start of a run, a cancellation."""
CHECK_SECONDS = 20.0
"""For the registries of all step images together."""


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Where runs are."""
    parser.add_argument("--to", required=True, metavar="BACKEND", help="kfp:HOST or vertex:PROJECT/REGION")
    parser.add_argument("--namespace", default="", help="of a multi-user Kubeflow")


def add_submission(parser: argparse.ArgumentParser) -> None:
    """Everything that says what is sent."""
    from lading.flows.names import CHECKS

    parser.add_argument("pipeline", help="name of a pipeline (release), or the path of a compiled one (.yaml)")
    add_backend(parser)
    add_parameters(parser)
    parser.add_argument("--images", default="", metavar="PREFIX", help="repository prefix of the step images")
    parser.add_argument("--pipeline-root", default="", metavar="URI", help="where artifacts go (gs://BUCKET/PREFIX)")
    parser.add_argument(
        "--staging", default="", metavar="URI", help="where a recipe file is put (default: the pipeline root)"
    )
    parser.add_argument("--experiment", default="", help="group the run under this name")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    parser.add_argument("--no-caching", action="store_true", help="run every step, also where its inputs are as before")
    parser.add_argument("--service-account", default="", metavar="NAME", help="whom the steps run as")
    parser.add_argument("--network", default="", help="VPC network that the steps are peered with (Vertex)")
    parser.add_argument(
        "--failure-policy", choices=("slow", "fast"), default="", help="what else runs after a failure (Vertex)"
    )
    parser.add_argument("--overlay", default="", metavar="FILE", help="Kubernetes settings of the steps (KFP)")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="CHECK", help=f"leave a check out: {', '.join(CHECKS)}"
    )


def prepare(args: argparse.Namespace) -> "tuple[Backend, Submission]":
    """Check everything, ship the recipe, and connect; nothing runs yet.

    Raises:
        InvalidInput: a check failed; the table of all of them is on standard error.
    """
    from dataclasses import replace

    from lading.backends.connect import connect, kind_of
    from lading.flows.preflight import check_cargo, ship_recipe
    from lading.wait import Deadline

    kind = kind_of(args.to)
    cargo, checks = check_cargo(
        _gather(args), kind, skip=frozenset(args.skip), environ=os.environ, deadline=Deadline.after(CHECK_SECONDS)
    )
    _report(checks, quiet=args.json)
    backend = connect(args.to, environ=os.environ, namespace=args.namespace)
    submission = _submission(args, cargo, backend)
    return backend, replace(submission, parameters=ship_recipe(cargo).parameters)


def _gather(args: argparse.Namespace) -> "Cargo":
    from lading.flows.catalog import find_pipeline
    from lading.flows.preflight import Cargo
    from lading.spec.ir import Pipeline
    from lading.spec.overlay import Overlay
    from lading.spec.parameters import gather_parameters, resolved_path

    pipeline = Pipeline.load(find_pipeline(args.pipeline))
    if args.no_caching:
        pipeline = pipeline.without_caching()
    if args.overlay:
        pipeline = Overlay.load(args.overlay).apply(pipeline)
    parameters = gather_parameters(pipeline, words=args.set, file=args.parameters or "", environ=os.environ)
    if "recipe" in parameters:
        parameters["recipe"] = resolved_path(parameters["recipe"])
    staging = args.staging or args.pipeline_root
    return Cargo(pipeline=pipeline, parameters=parameters, images=args.images, staging=staging)


def _report(checks: "list[Any]", *, quiet: bool) -> None:
    from lading.errors import InvalidInput

    failed = [check for check in checks if not check.passed]
    if not quiet:
        rows = [("✓" if check.passed else "✗", check.name, check.received) for check in checks]
        print(table(("", "checked", "found"), rows), file=sys.stderr)
    if failed:
        words = "; ".join(f"{check.name}: expected {check.expected}, found {check.received}" for check in failed)
        raise InvalidInput(f"nothing was sent. {words}")


def _submission(args: argparse.Namespace, cargo: "Cargo", backend: "Backend") -> "Submission":
    from lading.backends.base import Submission
    from lading.flows.names import parse_labels, run_name

    submission = Submission(
        name=run_name(cargo.pipeline.name),
        spec=cargo.pipeline.spec,
        platform=cargo.pipeline.platform,
        parameters=cargo.parameters,
        pipeline_root=args.pipeline_root,
        experiment=args.experiment,
        labels=parse_labels(args.label),
        service_account=args.service_account,
        network=args.network,
        failure_policy=args.failure_policy,
    )
    submission.check_against(backend.capabilities, args.to)
    return submission
