"""Converting for LiteRT: what does not pass is a verdict with its reason."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lading import golden
from lading.convert import convert_model
from lading.errors import InvalidInput, InvalidModel, Rejected
from lading.parity import compare_signature
from lading.predict import Model, load_model
from lading.predict.conversion import FOLDER, MODEL
from lading.predict.engines import litert
from lading.reject import reject_release
from lading.results import ConvertReport, verdict_from_json
from lading.values import GoldenRequest, from_json, to_json


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


def test_answers_outside_the_tolerance_are_noticed(litert_model: Path) -> None:
    requests = GoldenRequest.read_all((litert_model / golden.FILE).read_text())
    with load_model(litert_model) as model, load_model(litert_model, engine="litert") as lite:
        parity = compare_signature(model, lite, "serving_default", requests=requests, rtol=0, atol=0)
    assert not parity.passed
    assert "apart where 0 is allowed" in parity.problem


# By default the comparison alone is seen to refuse, above; and a conversion, for its golden requests, below.
@pytest.mark.slow
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


def test_golden_requests_judge_by_their_own_tolerance_and_the_command_exits_by_it(
    mlp_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(mlp_model, tmp_path / "model")
    file = tmp_path / "model" / golden.FILE
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[4]["response"]["softmax"][0][3] += 0.1
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "lading", "convert", "--json", tmp_path / "model", "--out", tmp_path / "model"]
    done = subprocess.run(
        [*command, "--report", tmp_path / "report.json"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "report.json").read_text())
    report = from_json(done.stdout, ConvertReport)
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
