"""The command line: reads the arguments and the environment, calls one function, prints, and exits.

Exit codes: 0 done, 1 a verdict was negative, 2 usage, 3 failure, 130 interrupted, 143 terminated. Each command lives in
``lading.commands`` and imports what it needs when it runs, so that ``lading --help`` stays fast.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from lading import __version__
from lading.commands import register
from lading.errors import InvalidInput, LadingError, Rejected

EXIT_REJECTED, EXIT_USAGE, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 3, 130, 143


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of every command; of ``command`` alone, if that is one."""
    parser = argparse.ArgumentParser(
        prog="lading", description="Takes a TensorFlow model from training to a served, watched URL."
    )
    parser.add_argument("--version", action="version", version=f"lading {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    register(subparsers, command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words[0] if words else "").parse_args(words)
    # As an exception, so that whatever is half-written is removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        code: int = args.run(args)
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) went away: nothing is left to say
        sys.stderr.close()
        return EXIT_FAILURE
    except LadingError as error:
        if args.debug:
            raise
        print(f"lading: {error}", file=sys.stderr)
        return _exit_code(error)


def _exit_code(error: LadingError) -> int:
    if isinstance(error, Rejected):
        return EXIT_REJECTED
    return EXIT_USAGE if isinstance(error, InvalidInput) else EXIT_FAILURE
