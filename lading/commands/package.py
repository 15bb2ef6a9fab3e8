"""``lading package``: from a SavedModel to an image."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit

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
    codecs = ("stored", "gzip", "none")
    add("--compression", default="stored", choices=codecs, help="of the model (default: %(default)s)")
    add("--scan-report", type=Path, metavar="FILE", help="of `lading scan`: refuse a model that is another, or failed")
    add("--sbom", action="store_true", help="attach a list of what is in the image, its base included: CycloneDX 1.6")
    add("--provenance", action="store_true", help="attach how the image was made: SLSA provenance 1.0")
    add("--sign-key", default="", metavar="KEY", help="sign the image and what is attached; as for `lading sign`")
    add("--timeout", type=float, default=600, metavar="SECONDS", help="for everything (default: %(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.commands.transfer import Transfer
    from lading.scanning.compare import read_report
    from lading.values import to_json
    from lading.wait import Deadline

    options = {
        "base": args.base,
        "platform": args.platform,
        "runtime": args.runtime,
        "name": args.name,
        "compression": args.compression,
        "scanned": read_report(args.scan_report) if args.scan_report else None,
        "environ": os.environ,
        "deadline": Deadline.after(args.timeout),
    }
    with Transfer() as transfer:
        if args.sbom or args.provenance or args.sign_key:
            from lading.flows.vouched import Vouching, package_vouched

            vouching = Vouching(sbom=args.sbom, provenance=args.provenance, sign_key=args.sign_key)
            made = package_vouched(args.model, args.to, vouching, progress=transfer, **options)
        else:
            from lading.package import package_image

            made = package_image(args.model, args.to, progress=transfer, **options)
    emit(args, json.loads(to_json(made)), made.image)
    return 0
