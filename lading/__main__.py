"""``python -m lading``: the command line."""

import sys

from lading.cli import main

if __name__ == "__main__":
    sys.exit(main())
