"""``lading verify``: is an image what it says it is, and from whom it should be?"""

import argparse
import os
from typing import Any

from lading.commands.common import add_parser, emit_verdict
from lading.commands.sign import IMAGE_HELP, add_timeout, open_image


def register(subparsers: Any) -> None:
    """Add the command."""
    verify = add_parser(
        subparsers, "verify", "check an image, its signature, SBOM and provenance, against a public key"
    )
    verify.add_argument("image", help=IMAGE_HELP)
    verify.add_argument("--key", required=True, help="a public key in PEM, or gcpkms://projects/…/cryptoKeyVersions/N")
    verify.add_argument(
        "--require",
        default="signature,sbom,provenance",
        metavar="LIST",
        help="what must be there and signed (default: %(default)s)",
    )
    verify.add_argument("--deep", action="store_true", help="read every layer and compare it with its digests")
    add_timeout(verify)
    verify.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    from lading.errors import InvalidInput
    from lading.signing.keys import load_public_key
    from lading.verify import KINDS, verify_image
    from lading.wait import Deadline

    kinds = [kind.strip() for kind in args.require.split(",") if kind.strip()]
    if not kinds or not set(kinds) <= set(KINDS):
        raise InvalidInput(f"expected --require with some of {', '.join(KINDS)}, received {args.require!r}")
    deadline = Deadline.after(args.timeout)
    key = load_public_key(args.key, environ=os.environ, deadline=deadline)
    store, digest = open_image(args.image, deadline=deadline)
    return emit_verdict(args, verify_image(store, digest, key, kinds=kinds, deep=args.deep, deadline=deadline))
