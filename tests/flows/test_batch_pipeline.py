"""The batch pipeline as it is shipped, on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

LADING = [sys.executable, "-m", "lading"]


def run(home: Path, *settings: str) -> "subprocess.CompletedProcess[str]":
    words = [word for setting in settings for word in ("--set", setting)]
    environ = {**os.environ, "XDG_STATE_HOME": str(home / "state")}
    return subprocess.run(
        [*LADING, "run", "batch", "--json", *words], cwd=home, env=environ, capture_output=True, text=True, timeout=120
    )


def test_rows_come_back_as_predictions_errors_and_metrics(mlp_model: Path, tmp_path: Path) -> None:
    image = json.dumps([[0] * 28] * 28)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/a.jsonl").write_text(f"{image}\nnonsense\n{image}\n")
    settings = [f"model={mlp_model}", "inputs=rows", "output=predicted", "max_bad_rows=1"]
    done = run(tmp_path, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "succeeded"
    assert "3 rows of 1 file, 1 bad" in told["steps"][0]["verdict"]
    lines = (tmp_path / "predicted/a.jsonl").read_text().splitlines()
    assert [len(json.loads(line)) for line in lines] == [10, 10]
    (errors,) = (tmp_path / "state").rglob("batch-predict/errors")
    assert json.loads(errors.read_text())["row"] == 2
    again = run(tmp_path, *settings)
    assert again.returncode == 0, again.stdout + again.stderr


def test_too_many_bad_rows_end_red(mlp_model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("nonsense\n" * 3)
    done = run(tmp_path, f"model={mlp_model}", "inputs=rows.jsonl", "output=predicted")
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "rejected"
    assert "bad rows: expected at most 10%, received 3 of 3" in told["problem"]
    (page,) = (tmp_path / "state").rglob("reject/page*")
    assert "Batch prediction" in page.read_text()
