"""``lading images list | push``: the images that pipeline steps run in, and the bases for serving."""

import argparse
import os
import sys
from typing import Any

from lading.commands.common import add_parser, emit, table


def register(subparsers: Any) -> None:
    """Add the two commands."""
    group = subparsers.add_parser("images", help="the images of pipeline steps, and the bases for serving")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = add_parser(commands, "list", "list the images of steps and for serving, and whether Docker has them here")
    listing.set_defaults(run=_list)
    push = add_parser(commands, "push", "publish the images that `make images` built")
    push.add_argument("--to", required=True, metavar="PREFIX", help="for instance europe-docker.pkg.dev/PROJECT/lading")
    push.set_defaults(run=_push)


def _list(args: argparse.Namespace) -> int:
    from lading.flows.publish import is_built, project_images

    found = [{"image": image, "built": is_built(image, environ=os.environ)} for image in project_images()]
    rows = [(str(one["image"]), "built" if one["built"] else "not built: make images") for one in found]
    emit(args, found, table(("image", ""), rows))
    return 0


def _push(args: argparse.Namespace) -> int:
    from lading.flows.publish import push_images

    pushed = push_images(args.to, environ=os.environ, progress=sys.stderr if sys.stderr.isatty() else None)
    emit(args, pushed, "\n".join(pushed))
    return 0
