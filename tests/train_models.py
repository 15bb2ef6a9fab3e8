"""Trains the models of the tests in one process: ``python train_models.py DIRECTORY``.

Writes for each run ``DIRECTORY/NAME/{model,golden.jsonl,heldout.npz,report.json}``, or ``DIRECTORY/NAME/error.json``.
"""

import csv
import json
import logging
import sys
from pathlib import Path

import numpy as np
from idx_files import write_fashion

from lading.errors import LadingError
from lading.train import train_model
from lading.values import to_json

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "penguins.py"
KINDS = (
    ("Adelie", (39, 18, 190, 3700), "Torgersen"),
    ("Chinstrap", (49, 18, 196, 3730), "Dream"),
    ("Gentoo", (47, 15, 217, 5070), "Biscoe"),
)
HEAD = """
import keras
import numpy as np
import tensorflow as tf
from lading.recipes import Trained

X = np.random.default_rng(0).random((64, 3), np.float32)
Y = np.arange(64) % 2


def softmax(name="p"):
    keras.utils.set_random_seed(1)
    x = keras.Input((3,), name="x")
    return keras.Model(x, keras.layers.Dense(2, activation="softmax", name=name)(x))


def trained(model, x=X, y=Y, inputs="x", names=("no", "yes")):
    return Trained(model, {inputs: x}, y, names)


def train(data, hyperparameters):
    """
RECIPES = {
    "returns_none": "return None",
    "raises": "\n    raise ValueError('column fare is missing')",
    "exits": "raise SystemExit(0)",
    "bare_inputs": "return Trained(softmax(), X, Y, ('no', 'yes'))",
    "history_object": "return Trained(softmax(), {'x': X}, Y, ('no', 'yes'), history=keras.callbacks.History())",
    "nan_history": "return Trained(softmax(), {'x': X}, Y, ('no', 'yes'), history={'loss': [0.5, float('nan')]})",
    "text_metric": "return Trained(softmax(), {'x': X}, Y, ('no', 'yes'), metrics={'optimizer': 'adam'})",
    "ragged_labels": "return trained(softmax(), y=[[0], [0, 1]])",
    "float_labels": "return trained(softmax(), y=Y.astype(float))",
    "text_inputs": "return trained(softmax(), np.full((64, 3), 'a'))",
    "too_large_for_float32": "return trained(softmax(), np.full((64, 3), 1e300))",
    "no_rows": "return trained(softmax(), X[:0], Y[:0])",
    "few_rows": "return trained(softmax(), X[:10], Y[:10])",
    "labels_beyond_classes": "return trained(softmax(), y=Y + 1)",
    "nan_data": "return trained(softmax(), np.where(X > 0.9, np.nan, X).astype(np.float32))",
    "wrong_shape": "return trained(softmax(), X[:, :2])",
    "other_input": "return trained(softmax(), inputs='y')",
    "one_class": "return trained(softmax(), y=Y * 0, names=('no',))",
    "three_names": "return trained(softmax(), names=('a', 'b', 'c'))",
    "constant": """
    model = softmax()
    model.set_weights([np.zeros((3, 2), 'f'), np.zeros(2, 'f')])
    return trained(model)""",
    "constant_beside_an_echo": """
    model = softmax()
    model.set_weights([np.zeros((3, 2), 'f'), np.zeros(2, 'f')])
    x = model.inputs[0]
    return trained(keras.Model(x, {"p": model.outputs[0], "echo": keras.layers.Identity(name="echo")(x)}))""",
    "fixed_batch": """
    x = keras.Input((3,), batch_size=8, name="x")
    return trained(keras.Model(x, keras.layers.Dense(2, activation="softmax")(x)))""",
    "text_output": """
    model = softmax()
    best = keras.ops.argmax(model.outputs[0], axis=1)
    name = keras.layers.StringLookup(vocabulary=["no", "yes"], num_oov_indices=0, invert=True, name="name")(best)
    return trained(keras.Model(model.inputs[0], [model.outputs[0], name]))""",
    "names_differ": """
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    p = keras.layers.Dense(2, activation="softmax")(x + y)
    return Trained(keras.Model({"a": x, "b": y}, p), {"x": X, "y": X}, Y, ("no", "yes"))""",
    "diverged": """
    model = softmax()
    model.set_weights([np.full((3, 2), np.nan, 'f'), np.zeros(2, 'f')])
    return trained(model)""",
    "logits": "return trained(keras.Sequential([keras.Input((3,), name='x'), keras.layers.Dense(2)]))",
    "only_in_python": """
    x = keras.Input((3,), name="x")
    double = keras.layers.Lambda(lambda t: tf.ensure_shape(tf.py_function(lambda a: a * 2, [t], tf.float32), (None, 3)))
    return trained(keras.Model(x, keras.layers.Dense(2, activation="softmax")(double(x))))""",
    "flags": """
    keras.utils.set_random_seed(1)
    x, y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
    p = keras.layers.Dense(2, activation="softmax", name="p")(4 * (x - y))
    sure = keras.ops.max(p, axis=1) > 0.7
    model = keras.Model({"x": x, "y": y}, {"p": p, "sure": sure})
    return Trained(model, {"x": X.astype(np.float64), "y": X[::-1]}, Y.tolist(), ["no", "yes"])""",
    "sixteen_bits": """
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return trained(softmax(), X * 4)
    finally:
        keras.mixed_precision.set_global_policy("float32")""",
    "dict_of_one": """
    model = softmax()
    return trained(keras.Model({"x": model.inputs[0]}, {"p": model.outputs[0]}))""",
    "integers_only": """
    keras.utils.set_random_seed(1)
    code = keras.Input((), dtype="int64", name="code")
    looked_up = keras.layers.IntegerLookup(vocabulary=[10, 20, 30], output_mode="one_hot")(code)
    model = keras.Model(code, keras.layers.Dense(2, activation="softmax", name="p")(looked_up))
    return trained(model, np.array([10, 20, 30, 40] * 16), inputs="code")""",
}


def write_penguins(directory: Path) -> Path:
    directory.mkdir()
    random = np.random.default_rng(0)
    with (directory / "penguins.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(
            ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"],
        )
        for row in range(240):
            species, means, island = KINDS[row % 3]
            measures = np.array(means) * (1 + 0.03 * random.standard_normal(4))
            lines.writerow([species, island, *(f"{measure:.1f}" for measure in measures)])
    return directory


def run(out: Path, recipe: str, data: str, hyperparameters: str = "{}") -> None:
    out.mkdir()
    try:
        report = train_model(
            recipe,
            data,
            hyperparameters=hyperparameters,
            model_dir=out / "model",
            golden_path=out / "golden.jsonl",
            heldout_path=out / "heldout.npz",
        )
    except LadingError as error:
        (out / "error.json").write_text(json.dumps([type(error).__name__, str(error)]))
    else:
        (out / "report.json").write_text(to_json(report))


def main(directory: Path) -> None:
    fashion = str(write_fashion(directory / "data-fashion"))
    for name in ("fashion", "fashion_again"):
        run(directory / name, "fashion_mnist", fashion, '{"epochs": 6.0, "batch_size": 32, "seed": 5}')
    run(directory / "fresh_seed", "fashion_mnist", fashion, '{"epochs": 1}')
    run(directory / "no_epochs", "fashion_mnist", fashion, '{"epochs": 0}')
    run(directory / "penguins", str(EXAMPLE), str(write_penguins(directory / "data-penguins")))
    for name, body in RECIPES.items():
        path = directory / f"{name}.py"
        path.write_text(HEAD + body + "\n")
        run(directory / name, str(path), "")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]))
