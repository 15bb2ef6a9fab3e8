"""``lading local start | stop | status | logs | env``: the embedded target."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit, table


def register(subparsers: Any) -> None:
    """Add the commands."""
    group = subparsers.add_parser("local", help="the embedded target of this machine")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    start = add_parser(commands, "start", "start the local target; services that it had serve again")
    start.add_argument(
        "--engine",
        choices=("auto", "bwrap", "runc", "docker"),
        help="what runs container images from now on (auto: the first that works)",
    )
    start.set_defaults(run=_start)
    stop = add_parser(commands, "stop", "end the local target and all that it runs; its services are kept")
    stop.add_argument("--purge", action="store_true", help="remove services, images and logs too")
    stop.set_defaults(run=_stop)
    status = add_parser(commands, "status", "list the services with their URLs and traffic")
    status.set_defaults(run=_status)
    show = add_parser(commands, "logs", "show what a service's process says")
    show.add_argument("service", help="name of the service")
    show.add_argument("--revision", help="name of the revision (default: the one that takes most traffic)")
    show.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    show.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="last lines (default: %(default)s)")
    show.set_defaults(run=_logs)
    env = add_parser(commands, "env", "print the variables with which gcloud and kubectl talk to the local target")
    env.set_defaults(run=_env)


def _state() -> Path:
    from lading.files import state_dir

    return state_dir(os.environ) / "local"


def _start(args: argparse.Namespace) -> int:
    from lading.local.engines import ask_for
    from lading.local.lifecycle import start
    from lading.local.state import Layout
    from lading.wait import Deadline

    if args.engine:
        ask_for(Layout(_state()), args.engine)
    endpoint = start(_state(), deadline=Deadline.after(30))
    emit(args, {"url": endpoint.url, "state": str(_state())}, f"the local target runs at {endpoint.url}")
    return 0


def _stop(args: argparse.Namespace) -> int:
    from lading.local.lifecycle import stop
    from lading.wait import Deadline

    ran = stop(_state(), deadline=Deadline.after(60), purge=args.purge)
    emit(args, {"stopped": ran}, "the local target has stopped" if ran else "the local target was not running")
    return 0


def _status(args: argparse.Namespace) -> int:
    from lading.local.lifecycle import running, status
    from lading.wait import Deadline

    services = status(_state(), deadline=Deadline.after(10))
    up = bool(services) or running(_state()) is not None
    rows = [
        (
            service["name"],
            service["url"],
            "yes" if service["ready"] else "no",
            str(len(service["revisions"])),
            ", ".join(f"{line['revision']} {line['percent']} %" for line in service["traffic"]),
        )
        for service in services
    ]
    if rows:
        text = table(("service", "url", "ready", "revisions", "traffic"), rows)
    else:
        text = "no services" if up else "the local target does not run: `lading local start` starts it"
    emit(args, services, text)
    return 0


def _logs(args: argparse.Namespace) -> int:
    from lading.errors import NotFound
    from lading.local.lifecycle import status
    from lading.local.logs import tail
    from lading.local.state import DEFAULT_NAMESPACE, Layout
    from lading.wait import Deadline

    revision = args.revision
    if not revision:
        services = {service["name"]: service for service in status(_state(), deadline=Deadline.after(10))}
        if args.service not in services:
            raise NotFound(f"no service {args.service} (there are: {', '.join(services) or 'none'})")
        lines = services[args.service]["traffic"] or services[args.service]["revisions"]
        revision = max(lines, key=lambda line: line["percent"]).get("revision", lines[0].get("name"))
    path = Layout(_state()).log(DEFAULT_NAMESPACE, revision)
    if not path.exists():
        raise NotFound(f"revision {revision} has written no log")
    shown = tail(path, lines=args.lines)
    emit(args, {"revision": revision, "lines": shown}, "\n".join(shown))
    if args.follow:
        _follow(path)
    return 0


def _env(args: argparse.Namespace) -> int:
    import shlex

    from lading.errors import ServiceUnreachable
    from lading.local.access import variables
    from lading.local.lifecycle import running
    from lading.local.state import Layout

    endpoint = running(_state())
    if endpoint is None:
        raise ServiceUnreachable("the local target does not run: start it with `lading local start`")
    found = variables(Layout(_state()), endpoint)
    emit(args, found, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in found.items()))
    return 0


def _follow(path: Path) -> None:
    """Print what is added to a log, until Ctrl-C."""
    with path.open(errors="replace") as file:
        file.seek(0, os.SEEK_END)
        while True:
            added = file.read()
            if added:
                sys.stdout.write(added)
                sys.stdout.flush()
            elif path.stat().st_size < file.tell():  # it was emptied because it had grown too long
                file.seek(0)
            else:
                time.sleep(0.2)
