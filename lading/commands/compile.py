"""``lading compile``: the pipelines and components that come with lading, or one's own, for one place."""

import argparse
import os
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit, table

_REGISTRY_SECONDS = 20.0
_PLATFORM = "kubernetes"


def register(subparsers: Any) -> None:
    """Add the command."""
    parser = add_parser(
        subparsers,
        "compile",
        "write compiled pipelines and components, step images by digest",
        epilog="With neither --images nor --overlay the files are those that come with lading, byte for byte.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="of a pipeline or component, or the path of a compiled one (.yaml); default: all that come with lading",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build"), metavar="DIR", help="where they are written (default: build)"
    )
    parser.add_argument(
        "--images",
        default="",
        metavar="PREFIX",
        help="repository prefix of the step images: asks that registry for their digests",
    )
    parser.add_argument(
        "--overlay",
        default="",
        metavar=f"{_PLATFORM}[=FILE]",
        help=f"add a second document of Kubernetes settings (default FILE: {_PLATFORM}.yaml); Vertex takes one only",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.files import write_atomic
    from lading.flows.catalog import find_compiled, shipped
    from lading.spec.compile import Compiled, compile_for, place_below
    from lading.spec.overlay import Overlay
    from lading.wait import Deadline

    names = list(dict.fromkeys(args.names)) or [*shipped("pipelines"), *shipped("components")]
    sources = place_below(args.out, [Compiled.load(find_compiled(name)) for name in names])
    file = _overlay_file(args.overlay)
    overlay = Overlay.load(file) if file else None
    made = compile_for(
        sources, images=args.images, overlay=overlay, environ=os.environ, deadline=Deadline.after(_REGISTRY_SECONDS)
    )
    for one in made:
        write_atomic(one.path, one.text)
    rows = [(one.pipeline.name, str(one.path), one.pipeline.images()) for one in made]
    data = [{"name": name, "path": path, "images": images} for name, path, images in rows]
    emit(args, data, table(("name", "written", "images"), [(n, p, ", ".join(i)) for n, p, i in rows]))
    return 0


def _overlay_file(text: str) -> str:
    from lading.errors import InvalidInput

    platform, _, file = text.partition("=")
    if text and platform != _PLATFORM:
        raise InvalidInput(f"expected --overlay {_PLATFORM} or --overlay {_PLATFORM}=FILE, received {text!r}")
    return (file or f"{_PLATFORM}.yaml") if text else ""
