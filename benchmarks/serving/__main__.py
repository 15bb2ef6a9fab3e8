"""lading's server beside Python's other model servers, on this machine: start, throughput, latency, memory.

    python -m benchmarks.serving [--what all] [--rounds 3] [--seconds 5] [--json FILE]

Makes one virtual environment for each peer and builds the models; both are kept in the cache. Needs Linux and wrk.
docs/benchmarks.md says what is measured and how.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import load, processes, questions, report
from benchmarks.serving.environments import make_environment
from benchmarks.serving.processes import Record
from benchmarks.serving.questions import Bench
from benchmarks.serving.running import ServerFailedError
from benchmarks.serving.servers import ECHO_GRANIAN, PEERS, echo, lading

WHAT = ("start", "throughput", "memory", "saturation")


def main() -> int:
    args = _arguments()
    what = set(WHAT) if args.what == "all" else {args.what}
    load.require_wrk()
    for name in sorted({ECHO_GRANIAN.environment, *(PEERS[peer].environment for peer in args.peers)}):
        make_environment(name, args.cache / "venvs")
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as scratch:
        bench = Bench(args.cache, Path(scratch), args.rounds, args.seconds)
        try:
            found = _measure(bench, what, args)
        except ServerFailedError as error:
            sys.exit(str(error))
    goals = _show(found, what)
    if args.json:
        raw = {"machine": processes.machine(), **found}
        args.json.write_text(json.dumps(raw, indent=1))
    return 0 if all(goal.met for goal in goals) else 1


def _arguments() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=(*WHAT, "all"), default="all", help="the question (default: all)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each server has its turn (3)")
    parser.add_argument("--seconds", type=int, default=5, metavar="N", help="length of one window of load (5)")
    parser.add_argument(
        "--engines", nargs="*", choices=report.ENGINES, default=report.ENGINES, help="of lading's server"
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="other servers (all)")
    parser.add_argument(
        "--batching", action="store_true", help="under load also lading's server with --batching, for each engine"
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="FILE",
        help="runs lading's server and the echo; of an environment that has lading (default: this one)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument(
        "--cache", type=Path, default=caches / "lading" / "benchmarks", metavar="DIR", help="environments and models"
    )
    return parser.parse_args()


def _measure(bench: Bench, what: set[str], args: argparse.Namespace) -> dict[str, list[Record]]:
    """What was measured, by question."""
    ours = [lading(engine, python=args.python) for engine in args.engines]
    batching = [lading(engine, batching=True, python=args.python) for engine in args.engines if args.batching]
    peers = [PEERS[peer] for peer in args.peers]
    found = {}
    if "start" in what:
        found["start"] = questions.starts(bench, [*ours, *peers])
    if what & {"throughput", "memory"}:
        found["load"] = questions.loads(bench, [echo(args.python), ECHO_GRANIAN, *ours, *batching, *peers])
    if "saturation" in what:
        found["saturation"] = questions.saturations(bench, args.engines, python=args.python)
    return found


def _show(found: dict[str, list[Record]], what: set[str]) -> list[report.Goal]:
    """Print a table for each question and one of goals."""
    shown = (
        ("start", "start", report.start_table, report.start_goals),
        ("throughput", "load", report.load_table, report.load_goals),
        ("memory", "load", report.memory_table, report.memory_goals),
        ("saturation", "saturation", report.saturation_table, report.saturation_goals),
    )
    goals = []
    for question, key, table, aims in shown:
        if question in what:
            print(f"\n{question}\n\n{report.markdown(table(found[key]))}")
            goals += aims(found[key])
    print(f"\ngoals\n\n{report.markdown(report.goal_table(goals))}")
    return goals


if __name__ == "__main__":
    sys.exit(main())
