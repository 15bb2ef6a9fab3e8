"""A model in this process, without HTTP: its answers, and how many it gives in a second.

``python -m benchmarks.serving.engine answers MODEL`` reads rows as JSON from standard input and prints the model's.
``python -m benchmarks.serving.engine rate MODEL ENGINE SECONDS`` prints what several numbers of threads reach.
"""

import json
import sys
import threading
import time
from typing import Any

import numpy as np

from lading.predict import Model, load_model
from lading.predict.cpus import available_cpus

WARM_UP_SECONDS = 1.0


def answers(path: str) -> list[Any]:
    """What TensorFlow computes for the rows."""
    rows = np.asarray(json.load(sys.stdin), np.float32)
    with load_model(path, engine="tensorflow") as model:
        (output,) = model.predict({"image": rows}).values()
    return output.tolist()


def rates(path: str, engine: str, seconds: float) -> dict[str, dict[str, float]]:
    """What ``rate`` gives for one row a call, by number of threads; these share the time."""
    row = np.asarray(json.load(sys.stdin), np.float32)[:1]
    with load_model(path, engine=engine) as model:
        numbers = sorted({1, available_cpus(), 2 * available_cpus()})
        rate(model, row, max(numbers), WARM_UP_SECONDS)
        return {str(number): rate(model, row, number, seconds / len(numbers)) for number in numbers}


def rate(model: Model, row: np.ndarray, threads: int, seconds: float) -> dict[str, float]:
    """Calls in a second (``rate``), and the processor time of one in microseconds (``cpu_us``), by so many threads."""
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def call(index: int) -> None:
        while time.perf_counter() < end:
            model.predict({"image": row})
            counts[index] += 1

    workers = [threading.Thread(target=call, args=(index,)) for index in range(threads)]
    started, computed = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    count = sum(counts)
    return {
        "rate": count / (time.perf_counter() - started),
        "cpu_us": (time.process_time() - computed) / count * 1e6,
    }


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    print(json.dumps(answers(path) if what == "answers" else rates(path, rest[0], float(rest[1]))))
