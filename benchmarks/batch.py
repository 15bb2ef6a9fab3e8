"""Batch prediction: speed beside what it consists of and beside embedded-tf's way, memory, and kill -9.

python benchmarks/batch.py speed [--rows 1000000] [--engine tensorflow] [--runs 3]
python benchmarks/batch.py memory [--rows 10000 1000000]
python benchmarks/batch.py kill [--rows 200000] [--kills 10]

The model is the MLP of the tests (28 × 28 numbers to 10), the rows are pixels 0 to 255 as JSON Lines.

`speed` compares, in turns: `lading batch` as a command, start and all; the same decoding and the same engine one after
the other in one process, on rows that are in memory, with nothing read or written (`decode + engine`); and the way of
embedded-tf: a server beside it gets each file whole, as one request, and the answer becomes lines. The server is
`lading serve`, since TensorFlow Serving's binary cannot be installed from a package registry, and gets files of 10,000
rows.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
LADING = (sys.executable, "-m", "lading")
ROWS_PER_FILE = 10_000
EMBEDDED = "embedded-tf's way"

ALONE = """
import sys, time
from pathlib import Path
from lading.batch.files import InputFile, open_source
from lading.batch.formats.base import open_input
from lading.batch.model import choose_signature
from lading.batch.options import BatchOptions
from lading.batch.size import choose_batch_size
from lading.predict.model import load_model
model = load_model(sys.argv[1], engine=sys.argv[3])
signature = choose_signature(model, BatchOptions())
options = BatchOptions(batch_size=choose_batch_size(signature, 0))
format = open_input("jsonl", signature, options)
path = Path(sys.argv[2])
file = InputFile(str(path), path.name, path.stat().st_size, f"mtime:{path.stat().st_mtime_ns}")
blocks = list(format.blocks(open_source(file)))
rows, decoding, computing = 0, 0.0, 0.0
begin = time.perf_counter()
while time.perf_counter() - begin < 5:
    for block in blocks:
        start = time.perf_counter()
        decoded = format.decode(block)
        middle = time.perf_counter()
        model.run(signature, list(decoded.inputs.values()))
        decoding, computing = decoding + middle - start, computing + time.perf_counter() - middle
        rows += len(decoded.rows)
print(rows / (decoding + computing), decoding / rows * 1e6, computing / rows * 1e6)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "kill"))
    parser.add_argument("--rows", type=int, nargs="*")
    parser.add_argument("--engine", default="tensorflow", choices=("tensorflow", "litert"))
    parser.add_argument("--model", type=Path, help="a SavedModel of this form, instead of the tests' own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model = args.model or _model(place, args.engine)
        {"speed": speed, "memory": memory, "kill": kill}[args.what](args, model, place)
    return 0


def speed(args: argparse.Namespace, model: Path, place: Path) -> None:
    """Rows a second, each way, in turns."""
    rows = (args.rows or [1_000_000])[0]
    files = write_rows(place / "in", rows, ROWS_PER_FILE)
    one = write_rows(place / "one", rows, rows)
    found: dict[str, list[float]] = {}
    for run in range(args.runs):
        start = time.perf_counter()
        _batch(model, one, place / f"out-{run}", args.engine)
        found.setdefault("lading batch, one file", []).append(rows / (time.perf_counter() - start))
        start = time.perf_counter()
        _batch(model, files, place / f"outs-{run}", args.engine)
        found.setdefault("lading batch, files of 10,000", []).append(rows / (time.perf_counter() - start))
        words = (sys.executable, "-c", ALONE, str(model), str(files / "00000.jsonl"), args.engine)
        alone, decode, engine = map(float, subprocess.check_output(words, text=True).split())
        found.setdefault("decode + engine", []).append(alone)
        found.setdefault("decode, µs a row", []).append(decode)
        found.setdefault("engine, µs a row", []).append(engine)
        some = min(rows, 20 * ROWS_PER_FILE)
        start = time.perf_counter()
        embedded_way(model, files, some // ROWS_PER_FILE, args.engine)
        found.setdefault(EMBEDDED, []).append(some / (time.perf_counter() - start))
    for name, values in found.items():
        print(f"{name:32} {statistics.median(values):12,.1f}   ({', '.join(f'{value:,.1f}' for value in values)})")
    ours = statistics.median(found["lading batch, one file"])
    print(f"of decode + engine               {ours / statistics.median(found['decode + engine']):12.2f}")
    print(f"times embedded-tf's way          {ours / statistics.median(found[EMBEDDED]):12.2f}")


def memory(args: argparse.Namespace, model: Path, place: Path) -> None:
    """Peak resident memory for few rows and for many."""
    peaks = []
    for rows in args.rows or (10_000, 1_000_000):
        files = write_rows(place / f"in-{rows}", rows, rows)
        peaks.append(_batch(model, files, place / f"out-{rows}", args.engine))
        print(f"{rows:12,} rows: {peaks[-1] / 1024:8.1f} MiB at most")
    print(f"{peaks[-1] / peaks[0]:.3f} times")


def kill(args: argparse.Namespace, model: Path, place: Path) -> None:
    """Killed at random moments and started again: the same bytes as an undisturbed run."""
    rows = (args.rows or [200_000])[0]
    files = write_rows(place / "in", rows, rows // 4)
    start = time.perf_counter()
    _batch(model, files, place / "whole", args.engine, "--shard-mib", "4")
    seconds = time.perf_counter() - start
    words = _words(model, files, place / "killed", args.engine, "--shard-mib", "4")
    kills = runs = 0
    while kills < args.kills:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            wait = random.uniform(0.1, 0.6) * seconds
            try:
                child.wait(wait)
            except subprocess.TimeoutExpired:
                child.kill()
                kills += 1
                print(f"kill {kills:2}: after {wait:.2f} s")
                continue
        _compare(place)
        shutil.rmtree(place / "killed")
        runs += 1
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    print(f"{kills} kills in {runs + 1} runs; each ended with {_compare(place):,} bytes, those of an undisturbed run")


def _compare(place: Path) -> int:
    """The bytes of both outputs, which must be the same."""
    whole, killed = (
        {path.name: path.read_bytes() for path in (place / name).glob("*.jsonl")} for name in ("whole", "killed")
    )
    assert whole, "there is no output"
    assert whole == killed, "the outputs differ"
    return sum(map(len, whole.values()))


def write_rows(directory: Path, rows: int, per_file: int) -> Path:
    """Files of so many rows of 784 pixels."""
    numbers = random.Random(0)
    # As in Fashion-MNIST about half of the pixels are 0.
    pixels = [0] * 255 + list(range(256))
    distinct = [
        json.dumps([[numbers.choice(pixels) for _ in range(28)] for _ in range(28)], separators=(",", ":")).encode()
        + b"\n"
        for _ in range(500)
    ]
    directory.mkdir()
    for number, first in enumerate(range(0, rows, per_file)):
        with (directory / f"{number:05d}.jsonl").open("wb") as file:
            for row in range(first, min(rows, first + per_file)):
                file.write(distinct[row % len(distinct)])
    return directory


def embedded_way(model: Path, files: Path, count: int, engine: str) -> None:
    """What embedded-tf does for each request: start a server, send each file whole, write the predictions."""
    words = (*LADING, "serve", f"m={model}", "--port", "0", "--engine", engine, "--max-body-bytes", str(1 << 30))
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stderr is not None
            url = next(_urls(server.stderr))
            for path in sorted(files.glob("*.jsonl"))[:count]:
                instances = [json.loads(line) for line in path.read_bytes().splitlines()]
                body = json.dumps({"instances": instances}).encode()
                with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/models/m:predict", body)) as answer:
                    predictions = json.load(answer)["predictions"]
                with (files.parent / "embedded.out").open("w") as out:
                    for prediction in predictions:
                        out.write(json.dumps(prediction) + "\n")
        finally:
            server.terminate()


def _urls(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        found = re.search(r'"port":\s*(\d+)', line)
        if found and found[1] != "0":
            yield f"http://127.0.0.1:{found[1]}"


def _words(model: Path, files: Path, output: Path, engine: str, *more: str) -> list[str]:
    words = [*LADING, "batch", "--model", str(model), "--input", f"{files}/", "--output", str(output), "--quiet"]
    return [*words, "--engine", engine, *more]


def _batch(model: Path, files: Path, output: Path, engine: str, *more: str) -> int:
    """Run the command; its peak resident memory in KiB."""
    code = (
        "import re, sys; from pathlib import Path; from lading.cli import main; code = main(sys.argv[1:])\n"
        "memory = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]\n"
        "print(memory, file=sys.stderr); sys.exit(code)"
    )
    words = [sys.executable, "-c", code, *_words(model, files, output, engine, *more)[3:]]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def _model(place: Path, engine: str) -> Path:
    """The MLP of the tests."""
    subprocess.run([sys.executable, str(ROOT / "tests" / "build_models.py"), str(place / "models")], check=True)
    if engine == "tensorflow":
        return place / "models" / "mlp"
    subprocess.run([*LADING, "convert", str(place / "models" / "mlp"), "--out", str(place / "lite")], check=True)
    return place / "lite"


if __name__ == "__main__":
    sys.exit(main())
