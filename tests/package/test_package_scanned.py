"""A model is packaged as it was scanned, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.registry import FakeRegistry
from packaged_images import ENVIRON, base_in, lading

from lading.errors import InvalidInput, InvalidModel, StorageError
from lading.package import package_image
from lading.scan import scan_model
from lading.scanning.compare import read_report
from lading.values import ModelDigests, to_json


@pytest.fixture
def scanned(model: Path, tmp_path: Path) -> Path:
    """The report of a scan of the model, as a file."""
    (model / "saved_model.pb").write_bytes(b"\x08\x01\x12\x02\x12\x00")  # a version, and an empty graph
    (model / "assets").mkdir()
    (model / "assets" / "line\nbreak").write_bytes(b"vocabulary")
    report = tmp_path / "scan.json"
    report.write_text(to_json(scan_model(model)))
    return report


def test_a_model_that_is_as_it_was_scanned_is_packaged(registry: FakeRegistry, model: Path, scanned: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    made = package_image(model, to, base=base, scanned=read_report(scanned), environ=ENVIRON)
    assert made.image == package_image(model, to, base=base, environ=ENVIRON).image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: (model / "variables" / "data").write_bytes(b"WEIGHTS" * 20_000), "variables/data was changed"),
        (lambda model: (model / "variables" / "more").write_bytes(b""), "variables/more appeared"),
        (lambda model: (model / "variables" / "data").unlink(), "variables/data vanished"),
        (
            lambda model: (model / "variables" / "data").rename(model / "moved"),
            "moved appeared, variables/data vanished",
        ),
        (lambda model: (model / "assets" / r"line\nbreak").write_bytes(b""), "names cannot be told apart"),
        (
            lambda model: [(model / f"{number}").touch() for number in range(7)],
            "0 appeared, 1 appeared, .*, 4 appeared and 2 more",
        ),
    ],
    ids=["changed", "appeared", "vanished", "moved", "alike", "many"],
)
def test_a_model_that_is_not_what_was_scanned_is_refused(
    registry: FakeRegistry, model: Path, scanned: Path, change: Callable[[Path], object], message: str
) -> None:
    change(model)
    with pytest.raises(InvalidModel, match=message):
        package_image(
            model,
            f"{registry.host}/models/taxi:v1",
            base=base_in(registry),
            scanned=read_report(scanned),
            environ=ENVIRON,
        )
    assert not registry.tags("models/taxi")
    assert not registry.uploaded


def test_a_model_that_the_scan_rejected_is_refused(
    registry: FakeRegistry, model: Path, scanned: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"base": base_in(registry), "environ": ENVIRON}
    (model / "saved_model.pbtxt").touch()
    rejected = scan_model(model)
    with pytest.raises(InvalidInput, match="expected the report of a scan that passed, received one that rejects"):
        package_image(model, f"{registry.host}/models/taxi", scanned=rejected, **options)
    other = tmp_path / "other.json"
    other.write_text(to_json(ModelDigests("/", {})))
    with pytest.raises(InvalidInput, match="ScanReport"):
        read_report(other)
    with pytest.raises(StorageError, match=r"cannot read the scan report .*none\.json"):
        read_report(tmp_path / "none.json")


def test_the_command_compares_the_model_with_a_scan_report(registry: FakeRegistry, model: Path, scanned: Path) -> None:
    words = (str(model), "--base", base_in(registry), "--to", f"{registry.host}/models/taxi", "--scan-report")
    done = lading(*words, str(scanned))
    assert (done.returncode, done.stderr) == (0, "")
    (model / "variables" / "data").write_bytes(b"other")
    done = lading(*words, str(scanned))
    assert (done.returncode, done.stdout) == (2, "")
    assert "variables/data was changed. Nothing was packaged: scan it again" in done.stderr
