"""The verdict of a scan: as a value, as a page, and as the command tells it."""

import json
import re
import subprocess
import sys
from pathlib import Path

from lading.report import render_verdict
from lading.results import verdict_from_json
from lading.scan import scan_model
from lading.values import to_json

LADING = [sys.executable, "-m", "lading"]


def test_the_verdict_is_a_value_and_a_page(scan_models: Path) -> None:
    report = scan_model(scan_models / "write_file")
    assert verdict_from_json(to_json(report)) == report
    page = render_verdict(report)
    assert "Scan: " in page
    assert "WriteFile writes any file" in page
    assert report.files["saved_model.pb"].sha256 in page
    assert "Nothing was found" in render_verdict(scan_model(scan_models / "keras"))


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*LADING, "scan", *words], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_what_it_found_and_exits_by_it(scan_models: Path, tmp_path: Path) -> None:
    html, report, policy = tmp_path / "page.html", tmp_path / "report.json", tmp_path / "policy.toml"
    done = run(scan_models / "write_file", "--html", html, "--report", report)
    assert done.returncode == 1
    assert re.search(r"^critical +op/file-write +signature serving_default › .*WriteFile", done.stdout, re.M)
    assert "REJECTED" in done.stdout
    assert "<html" in html.read_text()
    assert json.loads(report.read_text())["kind"] == "ScanReport"
    policy.write_text('allow_ops = ["WriteFile"]')
    done = run(scan_models / "write_file", "--policy", policy, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"] is True
    policy.write_text("allow = 1")
    assert run(scan_models / "keras", "--policy", policy).returncode == 2
    assert run(tmp_path / "missing").returncode == 2


def test_a_scan_imports_neither_tensorflow_nor_protobuf_nor_numpy(scan_models: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lading.scan import scan_model;"
        f"assert not scan_model(Path({str(scan_models / 'write_file')!r})).passed;"
        "sys.exit(bool({'tensorflow', 'google.protobuf', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
