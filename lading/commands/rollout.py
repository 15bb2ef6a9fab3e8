"""``lading rollout``: from an image to traffic in one call, or back to what served before."""

import argparse
import os
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from lading.commands.common import add_ingress, add_parser, add_timeout, emit_verdict, read_text
from lading.errors import InvalidInput

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")


def register(subparsers: Any) -> None:
    """Add the command."""
    rollout = add_parser(
        subparsers,
        "rollout",
        "deploy, smoke and promote an image in steps, or restore what served before",
        description="Deploys an image without traffic, asks it the golden requests, and moves the traffic to it in\n"
        "steps, each of them watched. Whatever goes wrong, the split from before is restored.",
    )
    rollout.add_argument("image", help="repository@sha256:…, as `lading package` printed it")
    rollout.add_argument("--service", required=True, help="name of the service")
    rollout.add_argument("--target", default="local:", help="where it lives (default: %(default)s)")
    rollout.add_argument(
        "--golden", type=Path, metavar="FILE", help="requests with known answers (default: those in the model)"
    )
    rollout.add_argument(
        "--instances", type=Path, metavar="FILE", help='your own requests: {"instances": […]}, or a list of such'
    )
    rollout.add_argument(
        "--steps", default="100", metavar="PERCENT,…", help="for instance 5,25,100 (default: %(default)s)"
    )
    rollout.add_argument(
        "--hold", default="0s", type=_seconds, metavar="TIME", help="how long each step is watched, for instance 60s"
    )
    rollout.add_argument(
        "--probes",
        default=500,
        type=int,
        metavar="N",
        help="requests to the candidate in each step (default: %(default)s)",
    )
    rollout.add_argument("--settings", default="{}", metavar="JSON", help='for instance \'{"memory": "1Gi"}\'')
    rollout.add_argument("--public", action="store_true", help="let everyone ask the service, from the promotion on")
    rollout.add_argument(
        "--release", default="", metavar="ID", help="names this rollout: the same again goes on where it was cut off"
    )
    rollout.add_argument("--wait", action="store_true", help="wait for another release of the service to end")
    add_timeout(rollout, 1800)
    add_ingress(rollout)
    rollout.set_defaults(run=_rollout)


def _rollout(args: argparse.Namespace) -> int:
    from lading.asking import parse_instances
    from lading.flows.rollout import Plan, roll_out
    from lading.judging import Limits
    from lading.observe import Questions
    from lading.packaged import find_model
    from lading.promote import parse_steps
    from lading.targets.connect import connect
    from lading.targets.settings import Settings
    from lading.values import GoldenRequest
    from lading.wait import Deadline

    if args.probes < 1:
        raise InvalidInput(f"--probes: expected at least 1, received {args.probes}")
    deadline = Deadline.after(args.timeout)
    model = find_model(args.image, environ=os.environ, deadline=deadline)
    golden = GoldenRequest.read_all(read_text(args.golden)) if args.golden else model.golden(deadline=deadline)
    if not golden:
        raise InvalidInput(
            f"{args.golden or args.image} holds no golden requests, and a model that is not asked takes no traffic: "
            "`lading train` writes them; give them with --golden"
        )
    plan = Plan(
        image=args.image,
        model_diff_id=model.diff_id,
        model=model.name,
        service=args.service,
        target_name=args.target,
        release_id=args.release or f"rollout-{uuid.uuid4().hex[:8]}",
        questions=Questions(golden, parse_instances(read_text(args.instances)) if args.instances else ()),
        settings=Settings.parse(args.settings),
        steps=parse_steps(args.steps),
        hold_seconds=args.hold,
        limits=Limits(probes=args.probes),
        public=args.public,
        wait=args.wait,
    )
    target = connect(args.target, environ=os.environ, ingress=args.ingress)
    report = roll_out(plan, target=target, deadline=deadline, say=lambda line: print(line, file=sys.stderr, flush=True))
    return emit_verdict(args, report)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time such as 60s or 5m, received {text!r}")
    return float(found[1]) * _UNITS[found[2]]
