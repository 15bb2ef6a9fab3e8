"""What the start of the TensorFlow engine consists of, with TensorFlow's library as the wheel has it and as images do.

    python -m benchmarks.engine_start [--rounds 15] [--cache DIR]

Prints processor time of the parts in process, and seconds to the first right answer of ``lading serve`` over HTTP; all
medians, in turns. The model is the MLP of ``benchmarks.serving``. The library as images have it (634 MB) is made once,
by what makes images (``containers/serving/prepare.py``), and kept in the cache. Linux only.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.serving import bodies, models
from benchmarks.serving.bodies import Body
from benchmarks.serving.running import Running
from benchmarks.serving.servers import lading
from containers.serving import prepare

LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


def main() -> None:
    if sys.argv[1:2] == ["parts"]:
        print(json.dumps(parts(Path(sys.argv[2]))))
        return
    args = _arguments()
    model = models.saved_model("mlp", args.cache)
    variants = {"wheel": "", "image": str(_as_in_images(args.cache))}
    inside: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    outside: dict[str, list[float]] = {name: [] for name in variants}
    rows = bodies.fashion(1)
    body = Body("mlp-1", rows, models.answers(model, rows))
    for turn in range(args.rounds + 1):
        for name, path in variants.items():
            found, seconds = _parts(model, path), _start(model, path, body)
            if turn:  # the first fills the page cache, and writes bytecode
                inside[name].append(found)
                outside[name].append(seconds)
    for part in next(iter(inside.values()))[0]:
        _show(f"{part}, ms", lambda name, part=part: [found[part] for found in inside[name]], variants)
    _show("start to the first right answer, ms", lambda name: [1000 * value for value in outside[name]], variants)


def parts(model: Path) -> dict[str, float]:
    """Processor time of this thread for each part, in milliseconds."""
    from lading.predict.engines import tensorflow
    from lading.predict.engines.tensorflow_c import library
    from lading.predict.model import load_model
    from lading.predict.protos import message

    message("tensorflow.MetaGraphDef")
    found = {}

    def part(name: str, call: Callable[[], object]) -> None:
        started = time.thread_time()
        call()
        found[name] = 1000 * (time.thread_time() - started)

    part("library", library)
    part("first graph", lambda: library().TF_NewGraph())
    part("first load", lambda: load_model(model))
    part("second load", lambda: load_model(model))
    # What lading turns off, for comparison.
    tensorflow._NO_TFG = b""
    load_model(model)  # reads that optimizer
    part("third load, with TFG's optimizer", lambda: load_model(model))
    return found


def _parts(model: Path, path: str) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.engine_start", "parts", str(model)]
    environ = {**models.ENVIRON, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environ, cwd=models.ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _start(model: Path, path: str, body: Body) -> float:
    server = lading("tensorflow")
    server = replace(server, environ={**server.environ, "PYTHONPATH": path})
    with Running(server, model, body, Path()) as running:
        return running.wait_right()


def _as_in_images(cache: Path) -> Path:
    """A folder for ``PYTHONPATH`` with TensorFlow's library and nothing else of it."""
    spec = find_spec("tensorflow")
    if spec is None or not spec.origin:
        sys.exit("needs TensorFlow: pip install 'lading[serving]'")
    place = cache / "image-libraries"
    marks = (spec.origin, Path(spec.origin).stat().st_mtime, Path(prepare.__file__).read_text())
    mark = json.dumps(marks)
    if not (place / "mark").is_file() or (place / "mark").read_text() != mark:
        shutil.rmtree(place, ignore_errors=True)
        (place / "tensorflow").mkdir(parents=True)
        for name in LIBRARIES:
            shutil.copyfile(Path(spec.origin).parent / name, place / "tensorflow" / name)
        prepare.prepare_libraries(place)
        # Without it the whole package, further back on the path, would be found first.
        (place / "tensorflow" / "__init__.py").touch()
        (place / "mark").write_text(mark)
    return place


def _show(what: str, values: Callable[[str], list[float]], variants: dict[str, str]) -> None:
    shown = (f"{name} {statistics.median(values(name)):.0f} (least {min(values(name)):.0f})" for name in variants)
    print(f"{what}: {', '.join(shown)}")


def _arguments() -> argparse.Namespace:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="how often each has its turn (15)")
    parser.add_argument(
        "--cache", type=Path, default=caches / "lading" / "benchmarks", metavar="DIR", help="models and libraries"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
