"""Batch prediction on Beam's DirectRunner, beside Beam's own RunInference with its stock TensorFlow handler.

python benchmarks/batch_beam.py [--rows 200000] [--runs 3] [--workers 2]

Needs the environment of `make test-beam`, with what the stock handler imports besides:
`.venv-beam/bin/python -m pip install tensorflow-hub 'setuptools<81'`.

The same files of 10,000 rows, JSON Lines of 28 × 28 pixels, each way, in turns; each is a command, start and all. The
model is the tests' MLP: lading gets the SavedModel, the stock handler the same layers and weights as a `.keras` file,
since it loads by `keras.models.load_model`, which takes no SavedModel any more (Keras 3). RunInference reads lines,
parses them (by orjson, and by json), predicts with TFModelHandlerNumpy and writes the numbers as lines; its pipeline
keeps no order, no key, and no bad row.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from batch import ROOT, ROWS_PER_FILE, write_rows

RUN_INFERENCE = """
import sys
import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import RunInference
from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy
from apache_beam.options.pipeline_options import PipelineOptions

model, files, output, library, *options = sys.argv[1:]


class Parse(beam.DoFn):
    def __init__(self, library):
        self.library = library

    def setup(self):
        import importlib
        self.loads = importlib.import_module(self.library).loads

    def process(self, line):
        yield np.asarray(self.loads(line), np.float32)


class Write(beam.DoFn):
    def __init__(self, library):
        self.library = library

    def setup(self):
        import importlib
        self.dumps = importlib.import_module(self.library).dumps

    def process(self, result):
        text = self.dumps(result.inference.numpy().tolist())
        yield text if isinstance(text, str) else text.decode()


def main():
    handler = TFModelHandlerNumpy(model_uri=model, load_model_args={"compile": False})
    with beam.Pipeline(options=PipelineOptions(options, save_main_session=True)) as pipeline:
        (
            pipeline
            | beam.io.ReadFromText(files + "/*.jsonl")
            | beam.ParDo(Parse(library))
            | RunInference(handler)
            | beam.ParDo(Write(library))
            | beam.io.WriteToText(output + "/out", file_name_suffix=".jsonl")
        )


if __name__ == "__main__":
    main()
"""

KERAS_FILE = """
import sys
import keras
import tensorflow as tf
image = keras.Input((28, 28), name="image")
hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(image))
model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(hidden))
weights = {tuple(one.shape): one.numpy() for one in tf.saved_model.load(sys.argv[1]).variables}
model.set_weights([weights[tuple(one.shape)] for one in model.weights])
model.save(sys.argv[2])
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-mib", default="8", help="what one worker predicts at once (default: 8)")
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        subprocess.run([sys.executable, str(ROOT / "tests" / "build_models.py"), str(place / "models")], check=True)
        files = write_rows(place / "in", args.rows, ROWS_PER_FILE)
        words = (sys.executable, "-c", KERAS_FILE, str(place / "models" / "mlp"), str(place / "mlp.keras"))
        subprocess.run(words, check=True)
        compare(args, place / "models" / "mlp", files, place)
    return 0


def compare(args: argparse.Namespace, model: Path, files: Path, place: Path) -> None:
    """Rows a second, each way, in turns."""
    beam = (f"--direct_num_workers={args.workers}", "--direct_running_mode=multi_processing")
    script = place / "run_inference.py"
    script.write_text(RUN_INFERENCE)
    ours = [sys.executable, "-m", "lading", "batch", "--quiet", "--model", str(model), "--input", f"{files}/"]
    ours += ["--shard-mib", args.shard_mib, "--output"]
    stock = [sys.executable, str(script), str(place / "mlp.keras"), str(files)]
    ways = {
        "lading batch": lambda out: [*ours, out],
        f"lading batch --beam, {args.workers} workers": lambda out: [*ours, out, f"--beam={' '.join(beam)}"],
        f"RunInference, orjson, {args.workers} workers": lambda out: [*stock, out, "orjson", *beam],
        f"RunInference, json, {args.workers} workers": lambda out: [*stock, out, "json", *beam],
    }
    found: dict[str, list[float]] = {}
    means: list[np.ndarray] = []
    for run in range(args.runs):
        for number, (name, words) in enumerate(ways.items()):
            output = place / f"out-{run}-{number}"
            output.mkdir()
            start = time.perf_counter()
            done = subprocess.run(words(str(output)), capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            assert not done.returncode, done.stderr[-3000:]
            check(name, output, args.rows, means)
            found.setdefault(name, []).append(args.rows / seconds)
            print(f"run {run + 1}: {name:36} {seconds:8.1f} s", flush=True)
    for name, values in found.items():
        print(f"{name:36} {statistics.median(values):12,.0f} rows/s   ({', '.join(f'{one:,.0f}' for one in values)})")


def check(name: str, output: Path, rows: int, means: list[np.ndarray]) -> None:
    """All rows are there, and on average the same."""
    lines = [json.loads(line) for path in output.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    assert len(lines) == rows, f"{name}: {len(lines)} lines"
    means.append(np.mean(lines, axis=0))
    np.testing.assert_allclose(means[-1], means[0], rtol=1e-4, err_msg=name)


if __name__ == "__main__":
    sys.exit(main())
