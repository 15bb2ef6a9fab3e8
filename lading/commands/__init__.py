"""The commands: each module registers its parsers and runs them.

A ``register`` function adds parsers to the sub-parsers it is given and sets ``run`` on them: a function from the parsed
arguments to an exit code. What a command needs besides argparse it imports when it runs.
"""

from lading.commands import build, local, release, run, serve

COMMANDS = (run.register, build.register, release.register, serve.register, local.register)
"""In the order of ``lading --help``."""
