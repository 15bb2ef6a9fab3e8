"""Promotions and rollbacks on each target whose fake runs real servers: does anybody who asks meanwhile get an error?

    python benchmarks/target_rollouts.py [--rounds N] [TARGET ...]
    python benchmarks/target_rollouts.py --kill [--rounds N]

Prints one JSON object. The servers, the fake, the load and the rollouts share this machine. With ``--kill`` revisions,
server and supervisor of the local target are killed with SIGKILL all the time, and who asks does it once more, a second
later, when a connection is refused or reset.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "targets")]

from local_place import LocalPlace  # noqa: E402
from places import Releases  # noqa: E402
from under_kills import Killer, moves_under_kills  # noqa: E402
from under_load import PLACES, RATE, Load, moves  # noqa: E402


def measured(name: str, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        place = PLACES[name](Path(folder))
        try:
            return figures(moves(Releases(place, seconds=120), rounds), rounds)
        finally:
            place.stop()


def under_kills(rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder))
        killer = Killer(place, seed=6)
        try:
            load = moves_under_kills(Releases(place, seconds=120), killer, rounds)
        finally:
            place.stop()
    return {**figures(load, rounds), "killed": dict(killer.killed), "asked_again": load.asked_again}


def figures(load: Load, rounds: int) -> dict[str, object]:
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
    parser.add_argument("--kill", action="store_true", help="the local target only, while its parts are killed")
    args = parser.parse_args()
    if args.kill:
        print(json.dumps({"asked_rate": RATE, "targets": {"local": under_kills(args.rounds)}}, indent=1))
        return
    found = {name: measured(name, args.rounds) for name in args.targets or PLACES}
    print(json.dumps({"asked_rate": RATE, "targets": found}, indent=1))


if __name__ == "__main__":
    main()
