"""Evaluation through lading.predict: figures known beforehand, thresholds, the champion."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lading.errors import InvalidData, InvalidInput, InvalidModel
from lading.evaluate import evaluate_model, parse_thresholds
from lading.files import write_atomic
from lading.heldout import HeldOut
from lading.predict import load_model
from lading.recipes.fashion_mnist import CLASS_NAMES
from lading.results import EvaluationReport, ModelFacts
from lading.values import from_json, to_json

NAMES = tuple(f"class {index}" for index in range(10))
IMAGE = "lading.local/x@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def rows(mlp_model: Path) -> HeldOut:
    """1000 rows, of which the model gets exactly 900 right."""
    images = np.random.default_rng(0).random((1000, 28, 28), np.float32)
    images *= np.random.default_rng(1).choice([0.0, 1.0, 5.0], (1000, 1, 28)).astype(np.float32)
    with load_model(mlp_model) as model:
        labels = model.predict({"image": images})["softmax"].argmax(axis=1)
    labels[:100] = (labels[:100] + 1) % 10
    return HeldOut({"image": images}, labels, NAMES)


@pytest.fixture
def heldout(rows: HeldOut, tmp_path: Path) -> Path:
    rows.save(tmp_path / "heldout.npz")
    return tmp_path / "heldout.npz"


def checks(report: EvaluationReport) -> dict[str, bool]:
    return {check.name: check.passed for check in report.checks}


def test_figures_are_those_of_the_rows(mlp_model: Path, rows: HeldOut, heldout: Path) -> None:
    report = evaluate_model(mlp_model, heldout)
    assert report.passed
    assert report.accuracy == 0.9
    assert report.rows == 1000
    assert report.champion == "none"
    confusion = np.array(report.confusion)
    assert np.trace(confusion) == 900
    assert [score.support for score in report.per_class] == np.bincount(rows.labels, minlength=10).tolist()
    for index, score in enumerate(report.per_class):
        assert score.recall == pytest.approx(confusion[index, index] / max(1, confusion[index].sum()))
        assert score.precision == pytest.approx(confusion[index, index] / max(1, confusion[:, index].sum()))
    with load_model(mlp_model) as model:
        probabilities = model.predict({"image": rows.inputs["image"]})["softmax"]
    expected = -np.log(probabilities[np.arange(1000), rows.labels]).mean()
    assert report.log_loss == pytest.approx(expected, rel=1e-4)
    assert from_json(to_json(report), EvaluationReport) == report


def test_too_few_right_answers_are_a_negative_verdict(mlp_model: Path, heldout: Path) -> None:
    report = evaluate_model(mlp_model, heldout, thresholds='{"min_accuracy": 0.91}')
    assert not report.passed
    assert checks(report) == {"probabilities": True, "min_accuracy": False}
    assert (report.checks[1].expected, report.checks[1].received) == ("at least 0.91", "0.9000")
    assert evaluate_model(mlp_model, heldout, thresholds='{"min_accuracy": null}').passed


def test_the_champion_is_scored_on_the_same_rows(mlp_model: Path, heldout: Path) -> None:
    report = evaluate_model(mlp_model, heldout, champion=(IMAGE, mlp_model))
    assert report.passed
    assert (report.champion, report.champion_accuracy) == (IMAGE, 0.9)


def test_a_model_worse_than_the_champion_is_refused(training_runs: Path, tmp_path: Path) -> None:
    """On noise that is labelled by what the champion says."""
    worse, champion = training_runs / "fresh_seed" / "model", training_runs / "fashion" / "model"
    noise = {"image": np.random.default_rng(0).random((300, 28, 28), np.float32)}
    with load_model(champion) as model:
        labels = model.predict(noise)["softmax"].argmax(axis=1)
    HeldOut(noise, labels, CLASS_NAMES).save(tmp_path / "h.npz")

    any_accuracy = '{"min_accuracy": 0, "max_accuracy_drop": %s}'
    report = evaluate_model(worse, tmp_path / "h.npz", thresholds=any_accuracy % 0.02, champion=(IMAGE, champion))
    assert report.champion_accuracy == 1
    assert report.accuracy < 0.98
    assert checks(report) == {"probabilities": True, "min_accuracy": True, "max_accuracy_drop": False}
    assert not report.passed
    report = evaluate_model(worse, tmp_path / "h.npz", thresholds=any_accuracy % 1, champion=(IMAGE, champion))
    assert report.passed


def test_a_champion_that_cannot_be_compared_is_a_check_and_not_a_crash(
    mlp_model: Path, mixed_model: Path, training_runs: Path, heldout: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    newer = tmp_path / "newer"
    shutil.copytree(mlp_model, newer)
    write_atomic(newer / ModelFacts.FILE, '{"kind": "ModelFacts", "version": 1000}')
    for other in (mixed_model, training_runs / "penguins" / "model", tmp_path / "empty", newer):
        report = evaluate_model(mlp_model, heldout, champion=(IMAGE, other))
        assert checks(report)["max_accuracy_drop"] is False
        assert "the champion cannot be compared" in report.checks[-1].received
        assert "set the threshold" in report.checks[-1].received
        assert report.champion_accuracy is None
        released = evaluate_model(mlp_model, heldout, thresholds='{"max_accuracy_drop": null}', champion=(IMAGE, other))
        assert released.passed
        assert "the champion cannot be compared" in released.checks[-1].received


def test_a_model_that_cannot_be_loaded_is_refused_by_its_path(mlp_model: Path, heldout: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cut = tmp_path / "cut"
    shutil.copytree(mlp_model, cut)
    (cut / "saved_model.pb").write_bytes((mlp_model / "saved_model.pb").read_bytes()[:1000])
    unfit = tmp_path / "unfit"
    shutil.copytree(mlp_model, unfit)
    write_atomic(unfit / ModelFacts.FILE, "{")
    for path in (tmp_path / "empty", cut, unfit):
        with pytest.raises(InvalidModel, match=str(path)):
            evaluate_model(path, heldout)


def test_altered_weights_are_refused(training_runs: Path, tmp_path: Path) -> None:
    run = training_runs / "fashion"
    altered = tmp_path / "altered"
    shutil.copytree(run / "model", altered)
    (weights,) = (altered / "variables").glob("*.data-*")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InvalidModel, match="Checksum does not match"):
        evaluate_model(altered, run / "heldout.npz")


def test_answers_that_are_no_numbers_are_a_negative_verdict(mlp_model: Path, rows: HeldOut, tmp_path: Path) -> None:
    images = rows.inputs["image"].copy()
    images[:10] = 3e38  # overflows float32 inside the model
    HeldOut({"image": images}, rows.labels, NAMES).save(tmp_path / "h.npz")
    report = evaluate_model(mlp_model, tmp_path / "h.npz")
    assert checks(report) == {"probabilities": False, "min_accuracy": True}
    assert report.checks[0].received == "NaN or infinity in 10 of 1000 rows"
    assert np.isfinite(report.log_loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{min_accuracy: 1}", "expected thresholds as JSON"),
        ("[0.8]", "expected thresholds as a JSON object"),
        ('{"accuracy": 0.9}', "unknown threshold accuracy; there are min_accuracy, max_accuracy_drop"),
        ('{"min_accuracy": 80}', "expected a number from 0 to 1, or null, received 80"),
        ('{"min_accuracy": true}', "expected a number from 0 to 1"),
        ('{"min_accuracy": NaN}', "expected a number from 0 to 1"),
    ],
)
def test_thresholds_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("[", r"\[")):
        parse_thresholds(text)


def test_thresholds_have_defaults() -> None:
    assert parse_thresholds("") == {"min_accuracy": 0.8, "max_accuracy_drop": 0.02}
    assert parse_thresholds('{"min_accuracy": 1}') == {"min_accuracy": 1, "max_accuracy_drop": 0.02}


def test_rows_of_another_model_are_refused(mlp_model: Path, training_runs: Path, heldout: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"with the model's inputs \(image\), received island, measures"):
        evaluate_model(mlp_model, training_runs / "penguins" / "heldout.npz")
    with pytest.raises(InvalidData, match=r"of the model's classes \(T-shirt/top, .*received class 0, class 1"):
        evaluate_model(training_runs / "fashion" / "model", heldout)


def test_a_model_without_probabilities_is_refused(mlp_model: Path, rows: HeldOut, tmp_path: Path) -> None:
    fewer = HeldOut(rows.inputs, rows.labels % 3, NAMES[:3])
    fewer.save(tmp_path / "h.npz")
    with pytest.raises(InvalidModel, match=r"expected one float output of shape \(None, 3\).* it has softmax float32"):
        evaluate_model(mlp_model, tmp_path / "h.npz")


def write(path: Path, **arrays: np.ndarray) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    return path


def test_heldout_files_that_cannot_be_used_are_refused(mlp_model: Path, heldout: Path, tmp_path: Path) -> None:
    images, names = np.zeros((2, 28, 28), np.float32), np.array(NAMES)
    cases = {
        "expected held-out rows, received none": {"input.image": images[:0], "label": np.zeros(0, int)},
        "expected 3 rows of input.image": {"input.image": images, "label": np.zeros(3, int)},
        "expected labels from 0 to 9, received 0 to 10": {"input.image": images, "label": np.array([0, 10])},
        "expected label as integers": {"input.image": images, "label": np.zeros(2)},
        "expected the arrays label, class_names and input.NAME": {"label": np.zeros(2, int)},
    }
    for message, arrays in cases.items():
        with pytest.raises(InvalidData, match=message):
            evaluate_model(mlp_model, write(tmp_path / "bad.npz", class_names=names, **arrays))
    (tmp_path / "cut.npz").write_bytes(heldout.read_bytes()[:5000])
    with pytest.raises(InvalidData, match=r"cut.npz: expected the held-out rows that `lading train`"):
        evaluate_model(mlp_model, tmp_path / "cut.npz")
    altered = bytearray(heldout.read_bytes())
    altered[altered.rindex(b"PK\1\2") + 8] |= 1  # zip: "is encrypted"
    (tmp_path / "altered.npz").write_bytes(altered)
    with pytest.raises(InvalidData, match=r"altered.npz: expected the held-out rows that `lading train`.*encrypted"):
        evaluate_model(mlp_model, tmp_path / "altered.npz")
    np.save(tmp_path / "array.npy", images)
    with pytest.raises(InvalidData, match=r"array.npy: expected the held-out rows"):
        evaluate_model(mlp_model, tmp_path / "array.npy")
    with pytest.raises(InvalidData, match=r"missing.npz"):
        evaluate_model(mlp_model, tmp_path / "missing.npz")


def test_evaluation_does_not_import_tensorflow(mlp_model: Path, heldout: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lading.evaluate import evaluate_model;"
        f"evaluate_model(Path({str(mlp_model)!r}), Path({str(heldout)!r})); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
