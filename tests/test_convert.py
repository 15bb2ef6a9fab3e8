"""Converting for LiteRT: what passes is proved, what does not is a verdict with its reason."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lading import golden
from lading.convert import convert_model
from lading.errors import InvalidInput, InvalidModel, Rejected
from lading.parity import MIN_ROWS, compare_signature
from lading.predict import Model, load_model
from lading.predict.conversion import FOLDER, MODEL, REPORT
from lading.predict.engines import litert
from lading.reject import reject_release
from lading.results import ConvertReport, verdict_from_json
from lading.values import GoldenRequest, from_json, to_json


@pytest.fixture(scope="module")
def gradients(convertible_models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ConvertReport]:
    """A model as `lading train` exports it, converted."""
    directory = tmp_path_factory.mktemp("converted") / "model"
    return directory, convert_model(convertible_models / "gradients", directory)


def test_a_conversion_carries_its_proof(litert_model: Path, mlp_model: Path) -> None:
    report = from_json((litert_model / FOLDER / REPORT).read_bytes(), ConvertReport)
    assert report.passed
    (parity,) = report.signatures
    assert parity.signature == "serving_default"
    assert parity.golden == 32
    assert parity.rows >= MIN_ROWS
    assert 0 < parity.max_abs_error <= report.atol + report.rtol
    assert report.rtol == 1e-3  # what the golden requests allow
    assert set(report.source) == {
        "saved_model.pb",
        *(f"variables/{p.name}" for p in (mlp_model / "variables").iterdir()),
    }
    for file in mlp_model.rglob("*"):
        if file.is_file():  # the copy is whole
            assert (litert_model / file.relative_to(mlp_model)).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_gradients_through_a_relu_convert_too(gradients: tuple[Path, ConvertReport]) -> None:
    directory, report = gradients
    assert report.passed, report.checks
    assert {parity.signature for parity in report.signatures} == {"serving_default", "input_gradients"}
    assert report.rewritten == {"ReluGrad": 1}
    inputs = {"features": np.random.default_rng(0).normal(size=(5, 8)), "class_index": [0, 1, 2, 0, 1]}
    with load_model(directory) as tensorflow, load_model(directory, engine="litert") as lite:
        expected = tensorflow.predict(inputs, signature="input_gradients")["features"]
        received = lite.predict(inputs, signature="input_gradients")["features"]
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-7)
        for model in (tensorflow, lite):  # class 9 of 3
            with pytest.raises(InvalidInput):
                model.predict({**inputs, "class_index": [9] * 5}, signature="input_gradients")


@pytest.mark.slow
def test_gradients_of_convolutional_networks_convert_too(convertible_models: Path, tmp_path: Path) -> None:
    report = convert_model(convertible_models / "pictures", tmp_path / "out")
    assert report.passed, report.checks
    assert report.rewritten == {"Relu6Grad": 1, "MaxPoolGrad": 1, "AvgPoolGrad": 1, "EluGrad": 1}
    image = np.random.default_rng(0).normal(size=(4, 16, 16, 1)) * 5
    image[2:] = 1  # all windows are ties
    inputs = {"image": image, "class_index": [0, 1, 2, 0]}
    with load_model(tmp_path / "out") as tensorflow, load_model(tmp_path / "out", engine="litert") as lite:
        expected = tensorflow.predict(inputs, signature="input_gradients")["image"]
        received = lite.predict(inputs, signature="input_gradients")["image"]
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("strings", {"serving_default": 'input "x" is a string, which LiteRT does not take', "numbers": ""}),
        ("lacking", {"serving_default": "LiteRT has no operation Cholesky", "double": ""}),
        pytest.param(
            *("random", {"serving_default": "TensorFlow gives two answers to the same request"}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_does_not_convert_is_a_verdict_with_its_reason(
    convertible_models: Path, tmp_path: Path, name: str, reasons: dict[str, str]
) -> None:
    report = convert_model(convertible_models / name, tmp_path / "out")
    assert not report.passed
    assert {parity.signature for parity in report.signatures} == set(reasons)
    for parity in report.signatures:
        assert parity.problem.startswith(reasons[parity.signature])
        assert parity.passed == (not reasons[parity.signature])
    assert not (tmp_path / "out" / FOLDER / MODEL).exists()
    with pytest.raises(InvalidModel, match="cannot be served by LiteRT: serving_default: "):
        load_model(tmp_path / "out", engine="litert")
    with load_model(tmp_path / "out", engine="auto") as model:
        assert model.engine == "tensorflow"
        assert reasons["serving_default"] in model.engine_note
    with pytest.raises(Rejected, match="serving_default: expected converts"):
        reject_release(verdict_from_json(to_json(report)), tmp_path / "page.html")
    assert "Conversion" in (tmp_path / "page.html").read_text()


def test_answers_outside_the_tolerance_are_a_negative_verdict(convertible_models: Path, tmp_path: Path) -> None:
    report = convert_model(convertible_models / "gradients", tmp_path / "out", rtol=0, atol=0)
    assert not report.passed
    problems = {parity.signature: parity.problem for parity in report.signatures}
    assert "apart where 0 is allowed" in problems["serving_default"]


def test_altered_weights_are_noticed(litert_model: Path, tmp_path: Path) -> None:
    content = bytearray((litert_model / FOLDER / MODEL).read_bytes())
    weights = np.frombuffer(content, np.float32, count=(len(content) - 40_000) // 4, offset=20_000)
    middle = weights[len(weights) // 2 :][:2000]
    assert np.abs(middle).max() < 1, "these are the weights"
    middle *= 1.5
    altered = tmp_path / MODEL
    altered.write_bytes(content)
    requests = GoldenRequest.read_all((litert_model / golden.FILE).read_text())
    with load_model(litert_model) as model:
        loaded = litert.load(altered, model.signatures, threads=1)
        with Model(loaded, path=litert_model, version=1, engine="litert") as lite:
            parity = compare_signature(model, lite, "serving_default", requests=requests, rtol=1e-3, atol=1e-5)
    assert not parity.passed
    assert parity.problem.startswith("softmax, golden request 1: ")
    assert parity.max_abs_error > 1e-3


def test_golden_requests_judge_by_their_own_tolerance(mlp_model: Path, tmp_path: Path) -> None:
    shutil.copytree(mlp_model, tmp_path / "model")
    file = tmp_path / "model" / golden.FILE
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[4]["response"]["softmax"][0][3] += 0.1
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = convert_model(tmp_path / "model", tmp_path / "out")
    assert not report.passed
    assert "golden request 5: softmax: expected the answer from training" in report.signatures[0].problem


def test_golden_requests_of_another_model_and_other_misuse_are_errors(mlp_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(mlp_model, model)
    (model / golden.FILE).write_text('{"signature":"other","request":{},"response":{},"rtol":0,"atol":0}\n')
    with pytest.raises(InvalidModel, match=r'golden.jsonl: expected golden requests .*no signature "other"'):
        convert_model(model, tmp_path / "out")
    with pytest.raises(InvalidInput, match="expected rtol as a number from 0 on, received -1"):
        convert_model(model, tmp_path / "out", rtol=-1)
    with pytest.raises(InvalidModel, match="found nothing"):
        convert_model(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_command_converts_in_place_and_exits_by_the_verdict(convertible_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "7"
    shutil.copytree(convertible_models / "strings", model)
    shutil.copytree(convertible_models / "gradients", tmp_path / "8")
    command = [sys.executable, "-m", "lading", "convert", "--json"]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [*command, str(model), "--out", str(model), "--report", str(report)],
        capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == json.loads(report.read_text())
    assert from_json(report.read_text(), ConvertReport).passed is False
    done = subprocess.run(
        [*command, str(tmp_path / "8"), "--out", str(tmp_path / "8")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with load_model(tmp_path, engine="auto") as loaded:
        assert (loaded.version, loaded.engine) == (8, "litert")


def test_the_component_writes_model_and_report(convertible_models: Path, tmp_path: Path) -> None:
    from components.convert import convert

    places = {name: SimpleNamespace(path=str(tmp_path / name)) for name in ("converted", "report")}
    model = SimpleNamespace(path=str(convertible_models / "gradients"))
    assert convert.python_func(model=model, rtol=0.0, atol=0.0, **places) == (True,)
    assert from_json((tmp_path / "report").read_text(), ConvertReport).passed
    with load_model(tmp_path / "converted", engine="litert") as loaded:
        assert "input_gradients" in loaded.signatures
