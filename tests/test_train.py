"""Training for real, on data small enough for a test: what comes out, and what is refused."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_fashion

from lading import golden
from lading.errors import InvalidInput, InvalidModel
from lading.evaluate import evaluate_model
from lading.heldout import HeldOut
from lading.predict import load_model
from lading.results import ModelFacts, TrainingReport
from lading.train import train_model
from lading.values import GoldenRequest, from_json


def report(run: Path) -> TrainingReport:
    return from_json((run / "report.json").read_text(), TrainingReport)


def requests(run: Path, signature: str) -> list[GoldenRequest]:
    found = GoldenRequest.read_all((run / "golden.jsonl").read_text())
    return [request for request in found if request.signature == signature]


def test_the_tutorials_model_has_its_names_and_learns(training_runs: Path) -> None:
    run = training_runs / "fashion"
    with load_model(run / "model") as model:
        serving = model.signatures["serving_default"]
        assert {name: spec.shape for name, spec in serving.inputs.items()} == {"image": (None, 28, 28)}
        assert {name: spec.shape for name, spec in serving.outputs.items()} == {"softmax": (None, 10)}
    verdict = evaluate_model(run / "model", run / "heldout.npz")
    assert verdict.passed
    assert verdict.rows == 100
    assert verdict.accuracy > 0.9


def test_the_report_tells_what_was_trained(training_runs: Path) -> None:
    made = report(training_runs / "fashion")
    assert made.hyperparameters == {"epochs": 6, "batch_size": 32, "learning_rate": 0.005, "seed": 5}
    assert len(made.history["loss"]) == 6
    assert made.metrics["loss"] == made.history["loss"][-1]
    assert (made.metrics["seed"], made.metrics["training_rows"]) == (5, 600)
    assert made.heldout_rows == 100
    assert made.signatures["input_gradients"]["inputs"]["class_index"] == {"dtype": "int64", "shape": [None]}
    facts = from_json((training_runs / "fashion" / "model" / ModelFacts.FILE).read_text(), ModelFacts)
    assert facts.class_names[9] == "Ankle boot"
    assert facts.recipe_sha256 == made.recipe_sha256


def test_a_seed_makes_runs_repeatable_and_none_a_new_one_each_time(training_runs: Path) -> None:
    first, again = ((training_runs / name / "golden.jsonl").read_text() for name in ("fashion", "fashion_again"))
    assert first == again
    assert report(training_runs / "fresh_seed").metrics["seed"] >= 0
    assert report(training_runs / "fresh_seed").metrics["seed"] != 5


def test_golden_requests_are_single_rows_that_differ(training_runs: Path) -> None:
    for name in ("fashion", "penguins", "integers_only"):
        serving = requests(training_runs / name, "serving_default")
        assert len(serving) >= 32
        assert all(len(value) == 1 for request in serving for value in request.request.values())
        answers = np.array([next(iter(request.response.values()))[0] for request in serving])
        assert np.ptp(answers, axis=0).max() > 0.1
    classes = {
        np.argmax(request.response["softmax"]) for request in requests(training_runs / "fashion", "serving_default")
    }
    assert len(classes) == 10
    inside = training_runs / "fashion" / "model" / golden.FILE
    assert inside.read_text() == (training_runs / "fashion" / "golden.jsonl").read_text()


def test_golden_numbers_are_short_and_exact(training_runs: Path) -> None:
    heldout = HeldOut.load(training_runs / "fashion" / "heldout.npz")
    first = requests(training_runs / "fashion", "serving_default")[0]
    image = np.array(first.request["image"], np.float32)[0]
    assert any(np.array_equal(image, row) for row in heldout.inputs["image"])
    assert max(len(repr(pixel)) for row in first.request["image"][0] for pixel in row) <= 14


def test_input_gradients_are_those_of_the_class_that_is_asked_for(training_runs: Path) -> None:
    with load_model(training_runs / "fashion" / "model") as model:
        images = HeldOut.load(training_runs / "fashion" / "heldout.npz").inputs["image"][:1]
        step = np.zeros_like(images)
        step[0, 14, 14] = 0.005  # small: a finite difference across a kink of relu is no derivative
        for index in (0, 7):
            gradient = model.predict({"image": images, "class_index": np.array([index])}, signature="input_gradients")
            up, down = (model.predict({"image": images + sign * step})["softmax"][0, index] for sign in (1, -1))
            assert gradient["image"][0, 14, 14] == pytest.approx((up - down) / 0.01, rel=0.05, abs=2e-4)


def test_a_model_of_integers_has_no_gradients_and_keeps_its_lookup_table(training_runs: Path) -> None:
    run = training_runs / "integers_only"
    assert set(report(run).signatures) == {"serving_default"}
    with load_model(run / "model") as model:
        answers = model.predict({"code": np.array([10, 20, 99])})["p"]
    assert len({tuple(row) for row in answers.tolist()}) == 3


def test_a_model_may_have_several_inputs_and_outputs(training_runs: Path) -> None:
    run = training_runs / "flags"
    assert set(report(run).signatures["input_gradients"]["outputs"]) == {"x", "y"}
    answers = [request.response for request in requests(run, "serving_default")]
    assert {value for answer in answers for value in answer["sure"]} == {True, False}
    with load_model(run / "model") as model:
        found = model.predict(requests(run, "serving_default")[0].request)
    assert (found["p"].dtype, found["sure"].dtype) == (np.float32, np.bool_)


def test_a_model_of_sixteen_bits_is_held_to_its_own_precision(training_runs: Path) -> None:
    (tolerance,) = {
        (request.rtol, request.atol) for request in requests(training_runs / "sixteen_bits", "serving_default")
    }
    assert tolerance == (golden.HALF_RTOL, golden.HALF_ATOL)
    (tolerance,) = {
        (request.rtol, request.atol) for request in requests(training_runs / "dict_of_one", "serving_default")
    }
    assert tolerance == (golden.RTOL, golden.ATOL)


def test_the_documented_example_is_a_recipe_of_forty_lines_that_works(training_runs: Path) -> None:
    example = Path(__file__).parent.parent / "docs" / "examples" / "penguins.py"
    assert len(example.read_text().splitlines()) == 40
    assert f"```python\n{example.read_text()}```\n" in (example.parent.parent / "recipes.md").read_text()
    run = training_runs / "penguins"
    assert set(requests(run, "serving_default")[0].request) == {"measures", "island"}
    assert set(requests(run, "input_gradients")[0].response) == {"measures"}
    verdict = evaluate_model(run / "model", run / "heldout.npz", thresholds='{"min_accuracy": 0.9}')
    assert verdict.passed
    assert [score.name for score in verdict.per_class] == ["Adelie", "Chinstrap", "Gentoo"]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("returns_none", "InvalidRecipe", "expected train() to return a lading.recipes.Trained, received a NoneType"),
        ("raises", "InvalidRecipe", "raises.py, line 23: train() failed: ValueError: column fare is missing"),
        ("exits", "InvalidRecipe", "train() failed: SystemExit"),
        ("bare_inputs", "InvalidRecipe", "expected heldout_inputs as a dict from names to arrays, received a ndarray"),
        ("history_object", "InvalidRecipe", "expected history as a dict from names to numbers, received a History"),
        ("nan_history", "InvalidRecipe", "expected finite numbers in history['loss'], received [0.5, nan]"),
        ("text_metric", "InvalidRecipe", "expected finite numbers in metrics['optimizer'], received 'adam'"),
        ("ragged_labels", "InvalidRecipe", "expected an array for heldout_labels"),
        ("float_labels", "InvalidRecipe", "expected heldout_labels as integers of shape [N], received float64"),
        ("text_inputs", "InvalidRecipe", "expected numbers that fit the model's float32, received <U1"),
        ("too_large_for_float32", "InvalidData", "'x' holds values that do not fit the model's float32"),
        ("no_rows", "InvalidData", "has no rows"),
        ("few_rows", "InvalidData", "at least 32 held-out rows"),
        ("labels_beyond_classes", "InvalidRecipe", "expected labels from 0 to 1 for 2 classes, received 1 to 2"),
        ("nan_data", "InvalidData", "'x' holds NaN or infinity"),
        ("wrong_shape", "InvalidRecipe", "'x': expected shape [64, 3] (64 labels), received [64, 2]"),
        ("other_input", "InvalidRecipe", "the model's inputs are ['x'], heldout_inputs has ['y']"),
        ("one_class", "InvalidRecipe", "two or more different strings"),
        ("three_names", "InvalidRecipe", "expected one float output of shape [None, 3]"),
        ("fixed_batch", "InvalidRecipe", "'x' has a fixed batch of 8"),
        ("constant", "InvalidRecipe", "gives every row the same answer"),
        ("constant_beside_an_echo", "InvalidRecipe", "gives every row the same answer"),
        ("text_output", "InvalidRecipe", "expected outputs of numbers, received 'name' of string"),
        ("names_differ", "InvalidRecipe", "the model cannot be called with its inputs by name (x, y)"),
        ("diverged", "InvalidRecipe", "'p' has NaN or infinity"),
        ("logits", "InvalidRecipe", "end the model with a softmax"),
        ("only_in_python", "InvalidModel", "EagerPyFunc"),
        ("no_epochs", "InvalidInput", "at least 1 of epochs"),
    ],
)
def test_what_breaks_the_contract_is_refused_and_leaves_nothing(
    training_runs: Path, name: str, kind: str, text: str
) -> None:
    received, message = json.loads((training_runs / name / "error.json").read_text())
    assert received == kind
    assert text in message
    assert [path.name for path in (training_runs / name).iterdir()] == ["error.json"]


def test_training_logs_a_line_per_epoch_and_no_noise(training_runs: Path) -> None:
    log = (training_runs / "log").read_text()
    assert "epoch 6/6: accuracy" in log
    for noise in ("oneDNN", "cpu_feature_guard", "Assets written", "━", "step", "structure of `inputs`"):
        assert noise not in log


def test_bad_arguments_are_refused_before_anything_runs(tmp_path: Path) -> None:
    places = {"model_dir": tmp_path / "m", "golden_path": tmp_path / "g", "heldout_path": tmp_path / "h"}
    for text in ("{epochs: 3}", "[3]"):
        with pytest.raises(InvalidInput, match="expected hyperparameters as a JSON object"):
            train_model("fashion_mnist", "", hyperparameters=text, **places)
    assert "tensorflow" not in sys.modules
    assert not list(tmp_path.iterdir())


def test_an_altered_model_is_found_out(training_runs: Path, tmp_path: Path) -> None:
    """The weights of one run with the golden requests of another."""
    altered = tmp_path / "altered"
    shutil.copytree(training_runs / "fresh_seed" / "model", altered)
    shutil.copyfile(training_runs / "fashion" / "model" / golden.FILE, altered / golden.FILE)
    with pytest.raises(
        InvalidModel, match=r"request 1 \(serving_default\): softmax: expected the answer from training"
    ):
        golden.verify(altered)


def train_in_a_process(out: Path, data: Path, epochs: int, *, before: str = "") -> "subprocess.Popen[str]":
    code = f"""
import logging
from pathlib import Path
from lading.errors import StorageError
from lading.train import train_model
logging.basicConfig(level=logging.INFO)
{before}
out = Path({str(out)!r})
try:
    train_model("fashion_mnist", {str(data)!r}, hyperparameters='{{"epochs": {epochs}}}', model_dir=out / "model",
                golden_path=out / "golden.jsonl", heldout_path=out / "heldout.npz")
except StorageError as error:
    print("refused:", error)
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with train_in_a_process(out, write_fashion(tmp_path / "data"), 100_000) as process:
        try:
            assert process.stderr
            assert any("epoch 2/" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode
    assert not out.exists()


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the full disk: the weights (400 kB) do not fit."""
    out = tmp_path / "out"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    with train_in_a_process(out, write_fashion(tmp_path / "data"), 1, before=limit) as process:
        try:
            printed, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert "refused: could not write the SavedModel" in printed, errors
    assert not list(out.iterdir())
