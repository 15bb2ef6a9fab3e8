"""The commands: each module registers its parsers and runs them.

A ``register`` function adds parsers to the sub-parsers it is given and sets ``run`` on them: a function from the parsed
arguments to an exit code. What a command needs besides argparse it imports when it runs.
"""

import importlib
from typing import Any

MODULES: dict[str, tuple[str, ...]] = {
    "run": ("run",),
    "compile": ("compile",),
    "lint": ("lint",),
    "images": ("images",),
    "submit": ("submit", "follow", "cancel"),
    "schedule": ("schedule",),
    "build": ("train", "evaluate"),
    "scan": ("scan",),
    "convert": ("convert",),
    "package": ("package",),
    "push": ("push",),
    "cloud_build": ("cloud-build",),
    "sign": ("sign", "sbom"),
    "verify": ("verify",),
    "release": ("deploy", "smoke", "promote", "rollback", "settle"),
    "rollout": ("rollout",),
    "serve": ("serve",),
    "batch": ("batch",),
    "batch_service": ("batch-service",),
    "vertex_batch": ("vertex-batch",),
    "local": ("local",),
}
"""The commands of each module, in the order of ``lading --help``."""


def register(subparsers: Any, command: str = "") -> None:
    """Add the parser of one command, or of all: a server need not import the others to start."""
    for module, commands in MODULES.items():
        if command in commands or not any(command in names for names in MODULES.values()):
            importlib.import_module(f"{__name__}.{module}").register(subparsers)
