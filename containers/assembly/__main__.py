"""``python -m containers.assembly``: the project's images without Docker. Places are as in docs/images.md."""

import argparse
import os
import sys

from containers.assembly.images import ENGINES, write_debian_base, write_serving_base
from lading.errors import InvalidInput, LadingError
from lading.wait import Deadline

_SECONDS = 1800.0


def main() -> int:
    """Write one image, and print it by digest."""
    parser = argparse.ArgumentParser(prog="python -m containers.assembly", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    base = commands.add_parser("base", help="Debian's Python and nothing else, by mmdebstrap")
    base.add_argument("--suite", default="bookworm", help="of Debian (default: bookworm, with Python 3.11)")
    serving = commands.add_parser("serving", help="lading's server with one engine")
    serving.add_argument("engine", choices=ENGINES)
    serving.add_argument("--base", required=True, metavar="PLACE", help="the image below, which needs a Python")
    serving.add_argument("--revision", default="", help="of this checkout, for a label")
    for command in (base, serving):
        command.add_argument("--to", required=True, metavar="PLACE", help="oci:DIR:TAG, archive:FILE or HOST/NAME:TAG")
        command.add_argument("--platform", default="", help="linux/amd64 or linux/arm64 (default: this machine's)")
    args = vars(parser.parse_args())
    write = {"base": write_debian_base, "serving": write_serving_base}[args.pop("command")]
    try:
        written = write(**args, environ=os.environ, deadline=Deadline.after(_SECONDS))
    except LadingError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InvalidInput) else 3
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
