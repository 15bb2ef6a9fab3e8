"""A process that claims an output, says so, and does what it is told line by line: the other run of a test.

``hold``: says whether the claim still holds. ``append LINE``: adds to the journal. ``write NAME``: writes the first
half of a large file, says so, and writes the rest after another line.
"""

import os
import sys
from collections.abc import Iterator

from storage_places import Place

from lading.errors import LadingError

HALF = b"z" * (9 << 20)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def halves() -> Iterator[bytes]:
    yield HALF
    say("half")
    sys.stdin.readline()
    yield HALF


def main(uri: str) -> None:
    outputs = Place(uri).outputs()
    outputs.claim(f"{os.getpid()}@elsewhere")
    say("claimed")
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        try:
            if verb == "hold":
                outputs.check()
            elif verb == "append":
                outputs.append("_lading/journal", rest.encode())
                outputs.flush()
            else:
                outputs.write(rest, halves())
            say("done")
        except LadingError as error:
            say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
