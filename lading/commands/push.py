"""``lading push``: an image from one place to another."""

import argparse
import json
import os
from typing import Any

from lading.commands.common import add_parser, emit

_EPILOG = """\
places:
  HOST/NAME[:TAG]      a repository of a registry
  oci:DIR[:TAG]        an OCI image layout, a directory
  archive:FILE         one tar, as `lading package --to archive:FILE` writes it
  lading.local/NAME    the image store of this machine
SOURCE may end in @sha256:…; what is attached to the image (signatures, SBOM, provenance) is copied with it.

For example, across an air gap:
  lading push europe-docker.pkg.dev/PROJECT/models/taxi:v7 --to archive:taxi.tar
  lading push archive:taxi.tar --to registry.example.org/models/taxi:v7
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers, "push", "copy an image, for instance from an archive, to a registry", epilog=_EPILOG
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="the place that has the image, for instance archive:taxi.tar")
    add("--to", required=True, metavar="PLACE", help="where it goes, for instance HOST/NAME:TAG")
    add("--platform", default="", metavar="OS/ARCH", help="of an image for several only this one (default: all)")
    add("--timeout", type=float, default=600, metavar="SECONDS", help="for everything (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.commands.transfer import Transfer
    from lading.push import push_image
    from lading.values import to_json
    from lading.wait import Deadline

    with Transfer() as transfer:
        pushed = push_image(
            args.source,
            args.to,
            platform=args.platform,
            environ=os.environ,
            deadline=Deadline.after(args.timeout),
            progress=transfer,
        )
    emit(args, json.loads(to_json(pushed)), pushed.image)
    return 0
