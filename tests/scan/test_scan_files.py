"""Files that do not belong to a model, and models that are cut off or garbage."""

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from findings import found, only, serving_function

from lading.errors import InvalidInput, InvalidModel
from lading.scan import scan_model


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\b"])
def test_an_asset_that_leads_out_of_the_model_is_refused(altered: Callable[..., Path], name: str) -> None:
    def change(saved: Any) -> None:
        saved.meta_graphs[0].asset_file_def[0].filename = name

    report = scan_model(altered(change, "vocabulary"))
    assert ("critical", "assets/escape") in found(report)
    assert not {check.name: check.passed for check in report.checks}["assets"]


def test_files_that_do_not_belong(scan_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(scan_models / "vocabulary", model)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (model / "assets" / "link").symlink_to(secret)
    (model / "assets" / "inside").symlink_to("words.txt")
    (model / "assets" / "nowhere").symlink_to("/nowhere")
    os.link(model / "fingerprint.pb", model / "assets.extra.pb")
    (model / "helper.py").write_text("import os")
    (model / "assets" / "data").write_bytes(b"\x7fELF....")
    (model / "notes\x1b[31m.txt").write_text("x")
    os.mkfifo(model / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(model / "socket"))
    (model / "saved_model.pbtxt").write_text("meta_graphs {}")
    report = scan_model(model)
    by_rule: dict[str, set[str]] = {}
    for finding in report.findings:
        by_rule.setdefault(f"{finding.severity} {finding.rule}", set()).add(finding.where)
    assert by_rule == {
        "high files/symlink": {"assets/link", "assets/nowhere"},
        "high files/irregular": {"pipe", "socket"},
        "high format/other-graph": {"saved_model.pbtxt"},
        "medium files/program": {"helper.py", "assets/data"},
        "medium files/name": {"notes\\x1b[31m.txt"},
        "info files/symlink-inside": {"assets/inside"},
        "info files/hard-link": {"assets.extra.pb", "fingerprint.pb"},
        "info files/unknown": {"assets.extra.pb", "notes\\x1b[31m.txt"},
    }
    assert "assets/link" not in report.files
    assert report.files["assets/inside"] == report.files["assets/words.txt"]


def test_a_model_inside_of_the_model_is_read(scan_models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(scan_models / "keras", model)
    shutil.copytree(scan_models / "read_file", model / "assets.extra" / "other")
    finding = only(scan_model(model))
    assert finding.rule == "op/file-read"
    assert finding.where.startswith("assets.extra/other/saved_model.pb › signature serving_default")
    (model / "assets.extra" / "other" / "saved_model.pb").write_bytes(b"\xff")
    assert found(scan_model(model)) == [("medium", "format/inner")]


def test_a_model_without_a_binary_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text('meta_graphs { graph_def { node { op: "WriteFile" } } }')
    report = scan_model(tmp_path)
    assert not report.passed
    assert found(report) == [("critical", "format/no-graph")]


def test_a_graph_that_is_a_link_out_of_the_model_is_not_read(scan_models: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").symlink_to(scan_models / "keras" / "saved_model.pb")
    assert found(scan_model(tmp_path / "model")) == [("critical", "format/no-graph"), ("high", "files/symlink")]


def test_files_that_are_cut_off_or_garbage_are_refused_and_never_crash(scan_models: Path, tmp_path: Path) -> None:
    whole = (scan_models / "write_in_loop" / "saved_model.pb").read_bytes()
    place = tmp_path / "saved_model.pb"
    draw = random.Random(1)
    contents = [b"", b"\xff" * 100, b"\0", draw.randbytes(5000), b"\x0b" * 50]
    contents += [whole[: draw.randrange(1, len(whole))] for _ in range(60)]
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(draw.randrange(1, 5)):
            changed[draw.randrange(len(whole))] = draw.randrange(256)
        contents.append(bytes(changed))
    refused = 0
    for content in contents:
        place.write_bytes(content)
        try:
            scan_model(tmp_path)
        except InvalidModel:
            refused += 1
    assert refused > 65


def test_attributes_in_attributes_without_end_are_refused(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        function = serving_function(saved).node_def.add(name="deep", op="PartitionedCall").attr["f"].func
        for _ in range(60):
            function.name = "f"
            function = function.attr["f"].func

    with pytest.raises(InvalidModel, match=r"saved_model.pb|nested more than 100 deep"):
        scan_model(altered(change))


def test_a_graph_of_too_many_parts_is_refused_in_time(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    (tmp_path / "saved_model.pb").write_bytes(field(2, field(2, b"\x0a\x00" * 1_100_000)))
    with pytest.raises(InvalidModel, match="more than 1,000,000 operations"):
        scan_model(tmp_path)


def test_there_must_be_a_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="found nothing"):
        scan_model(tmp_path / "missing")
    (tmp_path / "1").mkdir()
    with pytest.raises(InvalidModel, match=r"has no saved_model\.pb"):
        scan_model(tmp_path)
    with pytest.raises(InvalidInput, match="one of the engines tensorflow, litert"):
        scan_model(tmp_path, engine="onnx")
