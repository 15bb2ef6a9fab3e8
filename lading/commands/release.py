"""``lading deploy | smoke | promote | rollback | settle``: from an image to traffic, and back."""

import argparse
import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_ingress, add_parser, add_timeout, emit, emit_verdict, read_text, table

if TYPE_CHECKING:
    from lading.releases import Promotion
    from lading.targets.base import Target
    from lading.wait import Deadline


def register(subparsers: Any) -> None:
    """Add the five commands."""
    _add_deploy(subparsers)
    _add_smoke(subparsers)
    _add_promote(subparsers)
    _add_rollback(subparsers)
    _add_settle(subparsers)


def _add_deploy(subparsers: Any) -> None:
    deploy = add_parser(subparsers, "deploy", "bring an image up as a candidate; traffic stays as it is")
    deploy.add_argument("image", help="repository@sha256:…, as `lading package` printed it")
    _add_service(deploy, seconds=1800)
    deploy.add_argument("--settings", default="{}", metavar="JSON", help='for instance \'{"env": {"LOG": "1"}}\'')
    deploy.add_argument(
        "--require-signed",
        default="",
        metavar="KEY",
        help="refuse an image that this key did not sign: a public key in PEM, or gcpkms://…",
    )
    deploy.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="gets the candidate, for smoke and promote"
    )
    deploy.set_defaults(run=_deploy)


def _add_smoke(subparsers: Any) -> None:
    smoke = add_parser(subparsers, "smoke", "ask a candidate the golden requests, and judge its answers")
    smoke.add_argument("candidate", type=Path, help="what `lading deploy` wrote")
    smoke.add_argument(
        "--golden", required=True, type=Path, metavar="FILE", help="requests with known answers (JSON Lines)"
    )
    smoke.add_argument(
        "--instances", type=Path, metavar="FILE", help='your own requests: {"instances": […]}, or a list of such'
    )
    smoke.add_argument("--out", type=Path, metavar="FILE", help="gets the verdict, for promote")
    add_ingress(smoke)
    add_timeout(smoke, 120)
    smoke.set_defaults(run=_smoke)


def _add_promote(subparsers: Any) -> None:
    promote = add_parser(subparsers, "promote", "give a candidate that passed its smoke test all of the traffic")
    promote.add_argument("candidate", type=Path, help="what `lading deploy` wrote")
    promote.add_argument("--smoke", required=True, type=Path, metavar="FILE", help="what `lading smoke` wrote")
    add_timeout(promote, 1800)
    promote.set_defaults(run=_promote)


def _add_rollback(subparsers: Any) -> None:
    rollback = add_parser(subparsers, "rollback", "go back to the traffic from before the last promotion")
    _add_service(rollback, seconds=120)
    rollback.add_argument("--revision", default="", help="send everything to this revision instead")
    rollback.add_argument("--release", default="", metavar="ID", help="restore the split that this release led to")
    rollback.add_argument("--history", action="store_true", help="list the last changes of traffic, and change nothing")
    rollback.set_defaults(run=_rollback)


def _add_settle(subparsers: Any) -> None:
    settle = add_parser(subparsers, "settle", "undo a release that did not come to its end")
    _add_service(settle, seconds=120)
    settle.add_argument("--release", default="", metavar="ID", help="only if this release is the open one")
    settle.set_defaults(run=_settle)


def _add_service(parser: argparse.ArgumentParser, *, seconds: float) -> None:
    parser.add_argument("--service", required=True, help="name of the service")
    parser.add_argument("--target", default="local:", help="where it lives (default: %(default)s)")
    add_timeout(parser, seconds)


def _connect(name: str, seconds: float, ingress: str = "") -> "tuple[Target, Deadline]":
    from lading.targets.connect import connect
    from lading.wait import Deadline

    return connect(name, environ=os.environ, ingress=ingress), Deadline.after(seconds)


def _deploy(args: argparse.Namespace) -> int:
    from lading.deploy import deploy_candidate
    from lading.files import write_atomic
    from lading.packaged import find_model
    from lading.signing.require import check_signed
    from lading.targets.settings import Settings
    from lading.values import to_json
    from lading.wait import Deadline

    check_signed(args.image, args.require_signed, environ=os.environ, deadline=Deadline.after(args.timeout))
    target, deadline = _connect(args.target, args.timeout)
    model = find_model(args.image, environ=os.environ, deadline=deadline)
    candidate = deploy_candidate(
        args.image,
        args.service,
        target=target,
        target_name=args.target,
        release_id=f"deploy-{uuid.uuid4().hex[:8]}",
        model_diff_id=model.diff_id,
        model=model.name,
        settings=Settings.parse(args.settings),
        deadline=deadline,
    )
    write_atomic(args.out, to_json(candidate))
    asked = target.capabilities.candidate
    words = f"{candidate.revision} is ready at {candidate.url}, without traffic\n(a candidate is asked {asked})"
    emit(args, json.loads(to_json(candidate)), words)
    return 0


def _smoke(args: argparse.Namespace) -> int:
    from lading.asking import parse_instances
    from lading.files import write_atomic
    from lading.releases import Candidate
    from lading.smoke import smoke_test
    from lading.targets.base import candidate_door
    from lading.values import GoldenRequest, from_json, to_json

    candidate = from_json(read_text(args.candidate), Candidate)
    golden = GoldenRequest.read_all(read_text(args.golden))
    target, deadline = _connect(candidate.target, args.timeout, args.ingress)
    own = parse_instances(read_text(args.instances)) if args.instances else ()
    door = candidate_door(target, candidate)
    verdict = smoke_test(candidate, golden, door=door, instances=own, deadline=deadline)
    if args.out:
        write_atomic(args.out, to_json(verdict))
    return emit_verdict(args, verdict)


def _promote(args: argparse.Namespace) -> int:
    from lading.promote import promote_candidate
    from lading.releases import Candidate, SmokeReport
    from lading.values import from_json

    candidate = from_json(read_text(args.candidate), Candidate)
    report = from_json(read_text(args.smoke), SmokeReport)
    target, deadline = _connect(candidate.target, args.timeout)
    return _show(args, promote_candidate(candidate, report, target=target, deadline=deadline))


def _rollback(args: argparse.Namespace) -> int:
    from lading.rollback import rollback_service

    target, deadline = _connect(args.target, args.timeout)
    if args.history:
        return _history(args, target, deadline)
    done = rollback_service(
        args.service,
        target=target,
        target_name=args.target,
        revision=args.revision,
        release=args.release,
        deadline=deadline,
    )
    return _show(args, done)


def _history(args: argparse.Namespace, target: "Target", deadline: "Deadline") -> int:
    from datetime import datetime

    from lading.errors import NotFound

    state = target.get(args.service, deadline=deadline)
    if state is None:
        raise NotFound(f"no service {args.service} on {args.target}")
    rows = [
        (
            datetime.fromtimestamp(change.time).astimezone().isoformat(timespec="seconds"),
            change.release_id,
            ", ".join(f"{line.revision} {line.percent} %" for line in change.traffic),
            change.reason,
        )
        for change in reversed(state.history)
    ]
    data = [dict(zip(("time", "release", "traffic", "reason"), row, strict=True)) for row in rows]
    emit(args, data, table(("time", "release", "traffic", "reason"), rows))
    return 0


def _settle(args: argparse.Namespace) -> int:
    from lading.settle import settle_release

    target, deadline = _connect(args.target, args.timeout)
    done = settle_release(args.service, target=target, release_id=args.release, deadline=deadline)
    emit(args, {"service": args.service, "done": done}, done)
    return 0


def _show(args: argparse.Namespace, done: "Promotion") -> int:
    from lading.values import to_json

    rows = [(line.revision, f"{line.percent} %") for line in done.after]
    emit(args, json.loads(to_json(done)), f"{table(('revision', 'traffic'), rows)}\n\n{done.url}")
    return 0
