"""``lading sign | sbom``: who made an image, and what is in it."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit

if TYPE_CHECKING:
    from lading.oci.store import Store
    from lading.wait import Deadline

IMAGE_HELP = "HOST/NAME[:TAG][@sha256:…], oci:DIR, or lading.local/NAME@sha256:…"


def register(subparsers: Any) -> None:
    """Add the two commands."""
    sign = add_parser(subparsers, "sign", "sign an image, so that `lading verify` and cosign know who made it")
    sign.add_argument("image", help=IMAGE_HELP)
    sign.add_argument(
        "--key",
        required=True,
        help="a private key in PEM (its password: LADING_KEY_PASSWORD), or gcpkms://projects/…/cryptoKeyVersions/N",
    )
    add_timeout(sign)
    sign.set_defaults(run=_sign)

    sbom = add_parser(subparsers, "sbom", "list what is in an image, its base included: CycloneDX 1.6")
    sbom.add_argument("image", help=IMAGE_HELP)
    sbom.add_argument("--attach", action="store_true", help="attach it to the image")
    sbom.add_argument("--key", default="", help="with --attach: sign it; as for `lading sign`")
    sbom.add_argument("--out", type=Path, metavar="FILE", help="write it here (default: standard output)")
    add_timeout(sbom)
    sbom.set_defaults(run=_sbom)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """``--timeout`` for all that a command does with an image."""
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="for everything (default: %(default)s)"
    )


def open_image(text: str, *, writable: bool = False, deadline: "Deadline") -> "tuple[Store, str]":
    """The store and the digest of an image that the caller named, by tag or digest.

    Raises:
        NotFound: there is no such image.
        InvalidReference: it is not the name of one.
    """
    from lading.oci.connect import open_place

    place = open_place(text, environ=os.environ)
    digest = place.digest or place.store.manifest(place.wanted, deadline=deadline).digest
    if writable:
        name = text.rpartition("@")[0] if place.digest else text
        return open_place(name, environ=os.environ, writable=True).store, digest
    return place.store, digest


def _sign(args: argparse.Namespace) -> int:
    from lading.sign import sign_image
    from lading.signing.keys import load_signer
    from lading.values import to_json
    from lading.wait import Deadline

    deadline = Deadline.after(args.timeout)
    signer = load_signer(args.key, environ=os.environ, deadline=deadline)
    store, digest = open_image(args.image, writable=True, deadline=deadline)
    done = sign_image(store, digest, signer, deadline=deadline)
    words = "signed" if done.signed else "was signed before"
    emit(args, json.loads(to_json(done)), f"{done.image} {words}, key {done.key}")
    return 0


def _sbom(args: argparse.Namespace) -> int:
    from lading.errors import InvalidInput
    from lading.files import write_atomic
    from lading.flows.statements import attach_statements
    from lading.sbom import make_sbom
    from lading.signing.keys import load_signer
    from lading.wait import Deadline

    if args.key and not args.attach:
        raise InvalidInput("--key signs what is attached: add --attach")
    deadline = Deadline.after(args.timeout)
    signer = load_signer(args.key, environ=os.environ, deadline=deadline) if args.key else None
    store, digest = open_image(args.image, writable=args.attach, deadline=deadline)
    if args.attach:
        done = attach_statements(store, digest, sbom=True, signer=signer, deadline=deadline)
        body = {"image": done.image, "sbom_components": done.sbom_components, "signed_by": done.signed_by}
        emit(args, body, f"{done.image} has a bill of materials of {done.sbom_components} components")
        return 0
    text = json.dumps(make_sbom(store, digest, deadline=deadline), indent=1, ensure_ascii=False)
    if args.out:
        write_atomic(args.out, text + "\n")
    else:
        print(text)
    return 0
