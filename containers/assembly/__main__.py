"""``python -m containers.assembly``: the project's images without Docker. Places are as in docs/images.md."""

import argparse
import os
import sys

from containers.assembly.images import IMAGES, write_debian_base, write_image
from lading.errors import InvalidInput, LadingError
from lading.wait import Deadline

_SECONDS = 1800.0


def main() -> int:
    """Write one image, and print it by digest."""
    parser = argparse.ArgumentParser(prog="python -m containers.assembly", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    base = commands.add_parser("base", help="Debian's Python and nothing else, by mmdebstrap")
    base.add_argument("--suite", default="bookworm", help="of Debian (default: bookworm, with Python 3.11)")
    base.add_argument("--shell", action="store_true", help="with a shell, which step images need")
    for name in IMAGES:
        image = commands.add_parser(name, help=f"the image lading/{name}")
        image.add_argument("--base", required=True, metavar="PLACE", help="the image below, which needs a Python")
        image.add_argument("--revision", default="", help="of this checkout, for a label")
    for command in commands.choices.values():
        command.add_argument("--to", required=True, metavar="PLACE", help="oci:DIR:TAG, archive:FILE or HOST/NAME:TAG")
        command.add_argument("--platform", default="", help="linux/amd64 or linux/arm64 (default: this machine's)")
    args = vars(parser.parse_args())
    name, edges = args.pop("command"), {"environ": os.environ, "deadline": Deadline.after(_SECONDS)}
    try:
        written = write_debian_base(**args, **edges) if name == "base" else write_image(name, **args, **edges)
    except LadingError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InvalidInput) else 3
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
