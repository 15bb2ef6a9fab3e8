"""What the parts of a request cost, one after the other in a loop: the figures behind choices in docs/design.md.

.venv/bin/python -m benchmarks.request_parts [--model SAVED_MODEL] [--json]

Without a model the engine is left out. Between requests the same code costs more: caches are colder.
"""

import argparse
import functools
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson

from benchmarks.serving.bodies import ONE
from lading.predict.document import Document
from lading.serving.errors import Code
from lading.serving.log import AccessLog, request_context
from lading.serving.metrics import Metrics

FLOAT = np.dtype(np.float32)


def microseconds(call: Callable[[], object], *, rounds: int = 7, seconds: float = 0.2) -> float:
    """The median over rounds of a call's mean time."""
    call()
    figures = []
    for _ in range(rounds):
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds / rounds:
            for _ in range(20):
                call()
            count += 20
        figures.append(spent / count * 1e6)
    return statistics.median(figures)


def parsers(body: bytes) -> dict[str, Callable[[], object]]:
    """Ways from the body of one image to an array."""
    return {
        "body to array: simdjson (lading)": lambda: Document(body).numbers("instances", FLOAT),
        "body to array: orjson, then numpy": lambda: np.array(orjson.loads(body)["instances"], np.float32),
        "body to array: json, then numpy": lambda: np.array(json.loads(body)["instances"], np.float32),
    }


def records() -> dict[str, Callable[[], object]]:
    """What is written down about a request. The line goes to ``/dev/null``: writing to a disk or pipe comes on top."""
    metrics = Metrics(lambda: ["mlp"], info={})
    access = AccessLog("all")

    def line() -> None:
        context = request_context({}.get)
        access.write(context, method="POST", path="/v1/models/mlp:predict", status=200, seconds=0.001)

    def count() -> None:
        metrics.request(model="mlp", api="predict", entrypoint="REST", code=Code.OK, seconds=0.001)

    return {"counted in metrics": count, "a line in the access log": line}


def engines(model: Path, pool: ThreadPoolExecutor) -> dict[str, Callable[[], object]]:
    """A prediction in the asking thread, and by way of another; with TensorFlow's own threads for operations."""
    from lading.predict.engines import tensorflow

    found: dict[str, Callable[[], object]] = {}
    image = [np.zeros((1, 28, 28), np.float32)]
    ways = {"tensorflow, in the asking thread": None, "tensorflow, in its own threads": 30.0}
    for name, timeout in ways.items():
        session = tensorflow.load(model, threads=None, timeout_seconds=timeout)
        found[name] = functools.partial(session.run, "serving_default", image)
    found["an empty call handed to a thread and back"] = lambda: pool.submit(threading.get_ident).result()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with ThreadPoolExecutor(1) as pool:
        parts = {**parsers(ONE.read_bytes()), **records(), **(engines(args.model, pool) if args.model else {})}
        figures = {}
        stderr = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            for name, call in parts.items():
                figures[name] = microseconds(call)
        finally:
            os.dup2(stderr, 2)
    if args.json:
        print(json.dumps(figures, indent=1))
        return 0
    for name, cost in figures.items():
        print(f"{name:44}{cost:8.1f} µs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
