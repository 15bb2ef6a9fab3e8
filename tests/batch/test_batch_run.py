"""Whole runs on this machine: what comes out, and what is bad."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch_runs import rows_of, run, write_images
from tf_record_files import example

from lading.batch.model import OpenModel, open_model
from lading.errors import InvalidInput, NotFound


def test_a_tree_is_predicted_as_the_model_predicts(mlp: OpenModel, tmp_path: Path) -> None:
    first = write_images(tmp_path / "in/2026/a.jsonl", 37)
    second = write_images(tmp_path / "in/b.txt", 5, seed=1)
    report = run(mlp, tmp_path / "in", tmp_path / "out", batch_size=16)
    assert report.passed
    assert (report.rows, report.bad_rows, report.files, report.errors) == (42, 0, 2, "")
    assert report.outputs == (f"{tmp_path}/out/2026/a.jsonl", f"{tmp_path}/out/b.txt")
    for images, path in ((first, "2026/a.jsonl"), (second, "b.txt")):
        expected = mlp.model.predict({"image": images.astype(np.float32)})["softmax"]
        np.testing.assert_allclose(rows_of(tmp_path / "out" / path), expected, rtol=1e-5, atol=1e-7)


def test_a_bad_row_is_a_row_in_the_errors_file(mlp: OpenModel, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in.jsonl", 4)
    good = [json.dumps(image.tolist()) for image in images]
    (tmp_path / "in.jsonl").write_text("\n".join([good[0], "[1, 2", good[1], "", '{"other": 1}', "[1]", good[2]]))
    report = run(mlp, tmp_path / "in.jsonl", tmp_path / "out", max_bad_rows="50%")
    assert report.passed
    assert (report.rows, report.bad_rows) == (6, 3)
    assert len(rows_of(tmp_path / "out/in.jsonl")) == 3
    errors = rows_of(Path(report.errors))
    assert [(error["file"], error["row"], error["text"]) for error in errors] == [  # type: ignore[index]
        (str(tmp_path / "in.jsonl"), 2, "[1, 2"),
        (str(tmp_path / "in.jsonl"), 5, '{"other": 1}'),
        (str(tmp_path / "in.jsonl"), 6, "[1]"),
    ]
    assert all(error["reason"] for error in errors)  # type: ignore[index]


def test_too_many_bad_rows_are_a_negative_verdict(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 8)
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("nonsense\nnonsense\n")
    report = run(mlp, tmp_path / "in.jsonl", tmp_path / "out", max_bad_rows="10%")
    assert not report.passed
    (check,) = (check for check in report.checks if not check.passed)
    assert (check.name, check.expected, check.received) == ("bad rows", "at most 10%", "2 of 10")
    assert len(rows_of(tmp_path / "out/in.jsonl")) == 8  # what could be predicted is there


def test_a_count_ends_the_run_and_a_higher_one_goes_on(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in/a.jsonl", 40)
    (tmp_path / "in/b.jsonl").write_text("nonsense\n" * 2000)
    write_images(tmp_path / "in/c.jsonl", 40, seed=1)
    report = run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="5", batch_size=8)
    assert not report.passed
    assert "run again with a higher limit to go on from here" in report.checks[0].received
    assert not (tmp_path / "out/c.jsonl").exists()
    report = run(mlp, tmp_path / "in", tmp_path / "out", max_bad_rows="2000", batch_size=8)
    assert report.passed
    assert report.resumed
    assert (report.rows, report.bad_rows) == (2080, 2000)
    assert [len(rows_of(tmp_path / "out" / name)) for name in ("a.jsonl", "b.jsonl", "c.jsonl")] == [40, 0, 40]


def test_a_row_that_the_graph_refuses_costs_only_itself(examples_model: Path, tmp_path: Path) -> None:
    records = [example(x=[float(row)]) for row in range(50)]
    for row in (0, 7, 33):
        records[row] = b"\xff\xff no example"
    lines = [json.dumps({"b64": base64.b64encode(record).decode()}) for record in records]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with open_model(str(examples_model), environ={}) as opened:
        report = run(opened, tmp_path / "in.jsonl", tmp_path / "out", signature="regress", batch_size=16)
        assert report.passed
        assert (report.rows, report.bad_rows) == (50, 3)
        assert rows_of(tmp_path / "out/in.jsonl") == [2.0 * row for row in range(50) if row not in (0, 7, 33)]
        errors = rows_of(Path(report.errors))
        assert [error["row"] for error in errors] == [1, 8, 34]  # type: ignore[index]
        assert errors[0]["text"] == lines[0]  # type: ignore[index]


def test_a_prediction_that_cannot_be_written_is_a_bad_row(examples_model: Path, tmp_path: Path) -> None:
    line = json.dumps({"b64": base64.b64encode(example(x=[1.0])).decode()})
    (tmp_path / "in.jsonl").write_text(f"{line}\n{line}\n")
    with open_model(str(examples_model), environ={}) as opened:
        report = run(opened, tmp_path / "in.jsonl", tmp_path / "out", signature="labels")
    assert not report.passed
    assert report.bad_rows == 2
    (reason,) = report.reasons
    assert "UTF-8" in reason


def test_a_signature_for_a_fixed_number_of_rows_is_fed_so_many(fixed_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f"[{row}, 0.5]\n" for row in range(10)))
    with open_model(str(fixed_model), environ={}) as opened:
        report = run(opened, tmp_path / "in.jsonl", tmp_path / "out")
        assert (report.passed, report.batch_size) == (True, 4)
        assert rows_of(tmp_path / "out/in.jsonl") == [row + 0.5 for row in range(10)]
        with pytest.raises(InvalidInput, match=r'"total" is not one for batches: for 10 rows .* the shape \[\]'):
            run(opened, tmp_path / "in.jsonl", tmp_path / "other", signature="total")


def test_the_model_of_an_image_is_the_same_model(mlp: OpenModel, mlp_model: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    words = [sys.executable, "-m", "lading", "package", str(mlp_model), "--to", "lading.local/digits"]
    packaged = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=True)
    (image,) = re.findall(r"lading\.local/digits@sha256:[0-9a-f]{64}", packaged.stdout)[:1]
    with open_model(image, environ=environ) as opened:
        assert opened.digest == mlp.digest
        assert list(opened.model.signatures) == list(mlp.model.signatures)
    with (
        pytest.raises(InvalidInput, match=r"lading\.local/digits:latest"),
        open_model("lading.local/digits:latest", environ=environ),
    ):
        pass


def test_without_notes_nothing_but_predictions_is_left(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 10)
    report = run(mlp, tmp_path / "in.jsonl", tmp_path / "out", keep_notes=False)
    assert report.passed
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] in (
        ["in.jsonl"],
        ["in.jsonl", "lock"],
    )


def test_no_input_is_an_error(mlp: OpenModel, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        run(mlp, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out/_lading/manifest.json").exists()


def test_an_input_is_never_written_over(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in.jsonl", 3)
    before = (tmp_path / "in.jsonl").read_bytes()
    with pytest.raises(InvalidInput, match=r"would replace the input .*in\.jsonl"):
        run(mlp, tmp_path / "in.jsonl", tmp_path)
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_a_damaged_file_fails_alone(mlp: OpenModel, tmp_path: Path) -> None:
    import gzip

    write_images(tmp_path / "in/a.jsonl", 10)
    packed = gzip.compress((tmp_path / "in/a.jsonl").read_bytes())
    (tmp_path / "in/b.jsonl.gz").write_bytes(packed[:-500])
    (tmp_path / "in/c.jsonl.gz").write_bytes(packed)
    report = run(mlp, tmp_path / "in", tmp_path / "out")
    assert not report.passed
    assert list(report.failed_files) == [str(tmp_path / "in/b.jsonl.gz")]
    assert not (tmp_path / "out/b.jsonl").exists()
    assert (tmp_path / "out/c.jsonl").read_bytes() == (tmp_path / "out/a.jsonl").read_bytes()


def test_ai_platforms_form(mlp: OpenModel, tmp_path: Path) -> None:
    write_images(tmp_path / "in/a.jsonl", 10)
    (tmp_path / "in/b.jsonl").write_text("nonsense\nnonsense\n")
    report = run(mlp, tmp_path / "in", tmp_path / "out", output_format="ai-platform", max_bad_rows="90%")
    assert report.passed
    names = sorted(path.name for path in (tmp_path / "out").glob("prediction*"))
    assert names == [f"prediction.{kind}-0000{n}-of-00002" for kind in ("errors_stats", "results") for n in (0, 1)]
    rows = rows_of(tmp_path / "out/prediction.results-00000-of-00002")
    assert [list(row) for row in rows] == [["softmax"]] * 10  # type: ignore[call-overload]
    assert (tmp_path / "out/prediction.errors_stats-00000-of-00002").read_text() == ""
    assert ", 2)" in (tmp_path / "out/prediction.errors_stats-00001-of-00002").read_text()
