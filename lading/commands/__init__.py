"""The commands: each module registers its parsers and runs them.

A ``register`` function adds parsers to the sub-parsers it is given and sets ``run`` on them: a function from the parsed
arguments to an exit code. What a command needs besides argparse it imports when it runs.
"""

from lading.commands.build import register as register_build
from lading.commands.compile import register as register_compile
from lading.commands.convert import register as register_convert
from lading.commands.images import register as register_images
from lading.commands.lint import register as register_lint
from lading.commands.local import register as register_local
from lading.commands.release import register as register_release
from lading.commands.run import register as register_run
from lading.commands.schedule import register as register_schedule
from lading.commands.serve import register as register_serve
from lading.commands.submit import register as register_submit

COMMANDS = (
    register_run,
    register_compile,
    register_lint,
    register_images,
    register_submit,
    register_schedule,
    register_build,
    register_convert,
    register_release,
    register_serve,
    register_local,
)
"""In the order of ``lading --help``."""
