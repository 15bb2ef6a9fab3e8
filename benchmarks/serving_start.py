"""From the start of a process to its first right answer over HTTP: `lading serve` beside `import tensorflow` + FastAPI.

    .venv/bin/python benchmarks/serving_start.py [MODEL] [--runs 5] [--json]

MODEL is a SavedModel with golden requests inside (what `lading train` writes); without it a small one is trained. The
two servers take turns on the same model; every answer is compared with the golden one. Unset PYTHONDONTWRITEBYTECODE
before: without bytecode every start compiles TensorFlow anew.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from lading.values import GoldenRequest

PEER = """
import os, uvicorn, fastapi, tensorflow as tf
model = tf.saved_model.load(os.environ["MODEL"])
function = model.signatures["serving_default"]
app = fastapi.FastAPI()
@app.post("/v1/models/m:predict")
def predict(body: dict):
    outputs = function(**{name: tf.constant(value, tf.float32) for name, value in body["inputs"].items()})
    return {"outputs": {name: tensor.numpy().tolist() for name, tensor in outputs.items()}}
uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
"""
MOST_SECONDS = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or trained(Path(scratch))
        commands = {
            "lading serve": [sys.executable, "-m", "lading", "serve", f"m={model}", "--host", "127.0.0.1"],
            "import tensorflow + FastAPI": [sys.executable, "-c", PEER],
        }
        figures: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(args.runs + 1):
            for name, command in commands.items():
                seconds = start_to_answer(command, model)
                if turn:  # the first is a warm-up
                    figures[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    ours, peer = medians.values()
    if args.json:
        print(json.dumps({"seconds": figures, "medians": medians, "ratio": peer / ours}, indent=1))
        return 0
    print(f"{'seconds to the first right answer':36}  median     min     max   ({args.runs} runs)")
    for name, values in figures.items():
        print(f"{name:36}{medians[name]:8.2f}{min(values):8.2f}{max(values):8.2f}")
    print(f"ratio of the medians: {peer / ours:.1f}")
    return 0


def trained(scratch: Path) -> Path:
    """Fashion-MNIST's model after one epoch."""
    words = ["train", "--out", str(scratch), "--hyperparameters", '{"epochs": 1}']
    subprocess.run([sys.executable, "-m", "lading", *words], check=True, stdout=subprocess.DEVNULL)
    return scratch / "model"


def start_to_answer(command: list[str], model: Path) -> float:
    """Seconds from the start of the process to its first answer, which must be right."""
    golden = GoldenRequest.read_all((model / "assets.extra/lading/golden.jsonl").read_text())[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    body = json.dumps({"inputs": golden.request}).encode()
    environ = {**os.environ, "PORT": str(port), "MODEL": str(model)}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        answer = first_answer(f"http://127.0.0.1:{port}/v1/models/m:predict", body, process)
        seconds = time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()
    check(answer["outputs"], golden)
    return seconds


def first_answer(url: str, body: bytes, process: "subprocess.Popen[bytes]") -> dict:
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.005)
    sys.exit(f"the server did not answer: {process.args}")


def check(outputs: object, golden: GoldenRequest) -> None:
    """Compare the only output with the golden one."""
    ((name, expected),) = golden.response.items()
    came = outputs[name] if isinstance(outputs, dict) else outputs
    pairs = list(zip(came[0], expected[0], strict=True))
    if not all(math.isclose(a, b, rel_tol=golden.rtol, abs_tol=golden.atol) for a, b in pairs):
        sys.exit(f"wrong answer: expected {expected}, received {came}")


if __name__ == "__main__":
    sys.exit(main())
