"""How long `import lading` and `lading --help` take, as whole processes.

.venv/bin/python benchmarks/cli_start.py [--runs 10] [--json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import lading": ["-c", "import lading"],
    "lading --help": ["-m", "lading", "--help"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(args.runs + 1):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            if turn:  # the first is a warm-up
                figures[name].append(time.perf_counter() - start)
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(f"{'seconds':20}  median     min     max   ({args.runs} runs)")
    for name, values in figures.items():
        print(f"{name:20}{statistics.median(values):8.3f}{min(values):8.3f}{max(values):8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
