"""Converting for LiteRT: what passes is proved, by command and component too."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lading.convert import convert_model
from lading.errors import InvalidInput
from lading.parity import MIN_ROWS
from lading.predict import load_model
from lading.predict.conversion import FOLDER, REPORT
from lading.results import ConvertReport
from lading.values import from_json


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


def test_the_command_converts_in_place_what_is_served_then(convertible_models: Path, tmp_path: Path) -> None:
    shutil.copytree(convertible_models / "strings", tmp_path / "7")
    shutil.copytree(convertible_models / "gradients", tmp_path / "8")
    done = subprocess.run(
        [sys.executable, "-m", "lading", "convert", "--json", str(tmp_path / "8"), "--out", str(tmp_path / "8")],
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
