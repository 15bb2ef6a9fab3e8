"""Promotions and rollbacks on each target whose fake runs real servers: does anybody who asks meanwhile get an error?

    python benchmarks/target_rollouts.py [--rounds N] [TARGET ...]

Prints one JSON object. The servers, the fake, the load and the rollouts share this machine.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "targets")]

from places import Releases  # noqa: E402
from under_load import PLACES, RATE, moves  # noqa: E402


def measured(name: str, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        place = PLACES[name](Path(folder))
        try:
            load = moves(Releases(place, seconds=120), rounds)
        finally:
            place.stop()
    return {
        "promotions": rounds,
        "rollbacks": rounds,
        "seconds": round(load.seconds, 1),
        "requests": load.answers + len(load.errors),
        "failed": len(load.errors),
        "rate": round((load.answers + len(load.errors)) / load.seconds, 1),
        "first_failure": load.errors[0] if load.errors else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(PLACES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    found = {name: measured(name, args.rounds) for name in args.targets or PLACES}
    print(json.dumps({"asked_rate": RATE, "targets": found}, indent=1))


if __name__ == "__main__":
    main()
