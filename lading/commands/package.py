"""``lading package``: from a SavedModel to an image."""

import argparse
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit

if TYPE_CHECKING:
    from lading.results import PackagedImage
    from lading.wait import Deadline

_EPILOG = """\
places:
  HOST/NAME[:TAG]      a repository of a registry
  oci:DIR[:TAG]        an OCI image layout, a directory
  archive:FILE         one tar, for docker load, podman load, ctr images import; `lading push` takes it to a registry
  lading.local/NAME    the image store of this machine, which the target local: runs from

For example:
  lading package model --base europe-docker.pkg.dev/PROJECT/lading/serving:litert \\
      --to europe-docker.pkg.dev/PROJECT/models/taxi:v7
  lading package gs://BUCKET/models/taxi --runtime tf-serving --base tensorflow/serving:2.18.0 --to archive:taxi.tar
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(subparsers, "package", "turn a SavedModel into a serving image, without Docker", epilog=_EPILOG)
    add = parser.add_argument
    add("model", help="a SavedModel, or a directory of versions; local, or gs://…")
    add("--to", required=True, metavar="PLACE", help="where the image goes, for instance lading.local/taxi")
    add("--base", default="host", metavar="PLACE", help="the image below; host: this machine's Python (%(default)s)")
    add("--platform", default="", metavar="OS/ARCH", help="of a base for several (default: this machine's)")
    add("--runtime", default="", choices=("lading", "tf-serving"), help="the server in the base (default: lading)")
    add("--name", default="", help="by which clients ask for the model (default: the last part of --to)")
    add("--compression", default="stored", choices=("stored", "gzip"), help="of the model (default: %(default)s)")
    add("--sbom", action="store_true", help="attach a list of what is in the image, its base included: CycloneDX 1.6")
    add("--provenance", action="store_true", help="attach how the image was made: SLSA provenance 1.0")
    add("--sign-key", default="", metavar="KEY", help="sign the image and what is attached; as for `lading sign`")
    add("--timeout", type=float, default=600, metavar="SECONDS", help="for everything (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.commands.transfer import Transfer
    from lading.package import package_image
    from lading.values import to_json
    from lading.wait import Deadline

    deadline = Deadline.after(args.timeout)
    attach = _attacher(args, deadline)  # a key that cannot be used is told before anything is sent
    with Transfer() as transfer:
        made = package_image(
            args.model,
            args.to,
            base=args.base,
            platform=args.platform,
            runtime=args.runtime,
            name=args.name,
            compression=args.compression,
            environ=os.environ,
            deadline=deadline,
            progress=transfer,
        )
    attach(made)
    emit(args, json.loads(to_json(made)), made.image)
    return 0


def _attacher(args: argparse.Namespace, deadline: "Deadline") -> "Callable[[PackagedImage], None]":
    """What makes, signs and attaches the statements that were asked for; nothing is loaded when none were."""
    if not (args.sbom or args.provenance or args.sign_key):
        return lambda made: None
    from datetime import UTC, datetime

    from lading.flows.statements import attach_to_image, check_attachable
    from lading.provenance import Build
    from lading.signing.keys import load_signer

    check_attachable(args.to)
    signer = load_signer(args.sign_key, environ=os.environ, deadline=deadline) if args.sign_key else None

    def attach(made: "PackagedImage") -> None:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        build = Build(args.model, args.base, made.base, made.runtime, args.platform, finished=finished)
        attach_to_image(
            made.image,
            sbom=args.sbom,
            build=build if args.provenance else None,
            signer=signer,
            environ=os.environ,
            deadline=deadline,
        )

    return attach
