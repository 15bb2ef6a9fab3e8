"""How long `lading run release` takes besides training and evaluating, and what KFP's runner costs for each step.

    .venv/bin/python benchmarks/run_release.py [--runs 3] [--json]

Runs the release pipeline several times (the first starts the local target, the others are retrains) in a state
directory of its own, and stops what it started. Unset PYTHONDONTWRITEBYTECODE before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

LEARNING = ("train", "evaluate")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        environ = {**os.environ, "XDG_STATE_HOME": state}
        try:
            runs = [release(environ) for _ in range(args.runs)]
        finally:
            subprocess.run(
                [sys.executable, "-m", "lading", "local", "stop"], env=environ, check=True, capture_output=True
            )
    figures = {name: [run[name] for run in runs] for name in runs[0]}
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(f"{'seconds':32}  median     min     max   ({args.runs} runs)")
    for name, values in figures.items():
        print(f"{name:32}{statistics.median(values):8.2f}{min(values):8.2f}{max(values):8.2f}")
    return 0


def release(environ: dict[str, str]) -> dict[str, float]:
    """One run: the whole process, its parts, and what is left between the steps."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lading", "run", "release", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"the run failed: {done.stdout}{done.stderr}")
    steps = {step["name"]: step["seconds"] for step in json.loads(done.stdout)["steps"]}
    learning = sum(steps[name] for name in LEARNING)
    return {
        "the whole command": whole,
        "all but train and evaluate": whole - learning,
        **{f"step {name}": seconds for name, seconds in steps.items()},
        "outside steps, for each step": (whole - sum(steps.values())) / len(steps),
    }


if __name__ == "__main__":
    sys.exit(main())
