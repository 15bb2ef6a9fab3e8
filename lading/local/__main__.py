"""``python -m lading.local supervise|serve STATE``: the two processes behind ``lading local start``."""

import logging
import os
import sys
from pathlib import Path

from lading.errors import LadingError
from lading.local.server import serve
from lading.local.state import Layout
from lading.local.supervisor import supervise


def main(role: str, state: str) -> int:
    """Run one of the two processes to its end."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s",
        force=True,  # the server inherits what the supervisor has
    )
    layout = Layout(Path(state))
    try:
        return (
            supervise(layout, lambda: main("serve", state))
            if role == "supervise"
            else serve(layout, environ=os.environ)
        )
    except LadingError as error:
        logging.error("%s", error)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
