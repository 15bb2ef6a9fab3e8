"""``lading schedule create | list | pause | resume | delete``: pipelines that a backend starts by the clock."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, table

if TYPE_CHECKING:
    from lading.backends.base import Schedule


def register(subparsers: Any) -> None:
    """Add the five commands."""
    from lading.commands.submission import add_backend, add_submission

    group = subparsers.add_parser("schedule", help="pipelines that a backend starts by the clock")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = add_parser(commands, "create", "check a pipeline as submit does, and have it started by the clock")
    add_submission(create)
    create.add_argument(
        "--cron", required=True, metavar="FIELDS", help="five fields, for instance '0 6 * * 1'; UTC, or after TZ=ZONE"
    )
    create.add_argument("--name", default="", help="of the schedule (default: one made from the pipeline and the time)")
    create.add_argument(
        "--max-parallel", type=int, default=1, metavar="N", help="runs at the same time (default: %(default)s)"
    )
    create.set_defaults(run=_create)
    listing = add_parser(commands, "list", "list the schedules")
    add_backend(listing)
    listing.set_defaults(run=_list)
    for name, words, run in (
        ("pause", "start no more runs until `lading schedule resume`", _pause),
        ("resume", "start runs again", _resume),
        ("delete", "remove a schedule; runs that it started are left alone", _delete),
    ):
        parser = add_parser(commands, name, words)
        parser.add_argument("id", metavar="SCHEDULE", help="its id, as `lading schedule list` shows it")
        add_backend(parser)
        parser.set_defaults(run=run)


def _create(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from lading.commands.submission import REQUEST_SECONDS, prepare
    from lading.errors import InvalidInput
    from lading.spec.cron import check_cron
    from lading.wait import Deadline

    check_cron(args.cron)
    if args.max_parallel < 1:
        raise InvalidInput(f"--max-parallel: expected a number from 1, received {args.max_parallel}")
    backend, submission = prepare(args)
    if args.name:
        submission = replace(submission, name=args.name)
    made = backend.create_schedule(
        submission, cron=args.cron, max_parallel=args.max_parallel, deadline=Deadline.after(REQUEST_SECONDS)
    )
    emit(args, _data(made), f"{made.id}\n{made.url}" if made.url else made.id)
    return 0


def _list(args: argparse.Namespace) -> int:
    found = _backend(args).schedules(deadline=_deadline())
    rows = [(s.id, s.name, s.cron, "active" if s.active else "paused", s.next_run) for s in found]
    text = table(("schedule", "name", "cron", "", "next run"), rows) if rows else "no schedules"
    emit(args, [_data(schedule) for schedule in found], text)
    return 0


def _pause(args: argparse.Namespace) -> int:
    return _set(args, active=False)


def _resume(args: argparse.Namespace) -> int:
    return _set(args, active=True)


def _set(args: argparse.Namespace, *, active: bool) -> int:
    _backend(args).set_schedule(args.id, active=active, deadline=_deadline())
    words = "starts runs again" if active else "is paused"
    emit(args, {"id": args.id, "active": active}, f"schedule {args.id} {words}")
    return 0


def _delete(args: argparse.Namespace) -> int:
    _backend(args).delete_schedule(args.id, deadline=_deadline())
    emit(args, {"id": args.id, "deleted": True}, f"schedule {args.id} is deleted")
    return 0


def _backend(args: argparse.Namespace) -> Any:
    from lading.backends.connect import connect

    return connect(args.to, environ=os.environ, namespace=args.namespace)


def _deadline() -> Any:
    from lading.commands.submission import REQUEST_SECONDS
    from lading.wait import Deadline

    return Deadline.after(REQUEST_SECONDS)


def _data(schedule: "Schedule") -> dict[str, Any]:
    return {
        "id": schedule.id,
        "name": schedule.name,
        "cron": schedule.cron,
        "active": schedule.active,
        "next_run": schedule.next_run,
        "url": schedule.url,
    }
