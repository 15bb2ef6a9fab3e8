"""What a scan finds in models that do what they should not, and what it says of those that only look so."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from findings import found, only, serving_function

from lading.errors import InvalidModel
from lading.predict.protos import message
from lading.scan import scan_model
from lading.scanning import op_groups


@pytest.mark.parametrize(
    ("name", "severity", "rule", "said"),
    [
        ("write_file", "critical", "op/file-write", "WriteFile .*'/tmp/written'"),
        ("write_in_loop", "critical", "op/file-write", "WriteFile .*'/tmp/', 'written'"),
        ("write_in_function", "critical", "op/file-write", "WriteFile .*'written'"),
        ("print_to_file", "critical", "op/file-write", "PrintV2 .*'file:///tmp/printed'"),
        ("raw_save", "critical", "op/file-write", "Save .*'/tmp/saved'"),
        ("cache_in_file", "critical", "op/file-write", "CacheDatasetV2 .*'/tmp/cache'"),
        ("python_call", "critical", "op/python", "PyFunc .*'pyfunc_0'"),
        ("read_file", "high", "op/file-read", "ReadFile .*'/etc/hostname'"),
        ("raw_restore", "high", "op/file-read", "RestoreV2 .*'/tmp/other'"),
    ],
)
def test_what_reaches_beyond_the_model_is_refused(
    scan_models: Path, name: str, severity: str, rule: str, said: str
) -> None:
    report = scan_model(scan_models / name)
    assert not report.passed
    finding = only(report)
    assert (finding.severity, finding.rule) == (severity, rule)
    assert re.search(said, finding.text)
    assert finding.where.startswith("signature serving_default › ")
    assert [check.name for check in report.checks if not check.passed] == ["operations"]


@pytest.mark.parametrize("name", ["keras", "mobilenet", "vocabulary", "cache_in_memory"])
def test_usual_models_have_no_findings(scan_models: Path, name: str) -> None:
    report = scan_model(scan_models / name)
    assert report.passed
    assert report.findings == ()
    assert "serving_default" in report.signatures
    assert all(len(digest.sha256) == 64 for digest in report.files.values())
    assert {"saved_model.pb", "variables/variables.index"} <= set(report.files)


@pytest.mark.parametrize("name", ["mlp", "mixed", "examples", "half_plus_two", "scale"])
def test_the_models_of_other_tests_have_no_findings(saved_models: Path, name: str) -> None:
    """Among them a graph of TensorFlow 1, and a base of versions, of which the highest is read."""
    report = scan_model(saved_models / name)
    assert (report.passed, report.findings) == (True, ())


def test_a_converted_model_has_no_findings(litert_model: Path) -> None:
    assert scan_model(litert_model, engine="litert").findings == ()


def test_lesser_things_are_told_and_pass(scan_models: Path) -> None:
    printed, big = scan_model(scan_models / "print_to_log"), scan_model(scan_models / "big_constant")
    assert printed.passed
    assert found(printed) == [("low", "op/log")]
    assert big.passed
    assert found(big) == [("low", "constants/large")]
    assert "12 MiB" in only(big).text


def test_every_graph_of_a_model_is_read(scan_models: Path) -> None:
    finding = only(scan_model(scan_models / "two_graphs"))
    assert finding.rule == "op/file-write"
    assert "main graph (train)" in finding.where


def test_the_savers_own_function_may_not_be_called_by_a_signature(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        names = [f.signature.name for f in saved.meta_graphs[0].graph_def.library.function]
        save = next(name for name in names if "traced_save" in name)
        serving_function(saved).node_def.add(name="evil", op=save, input=["x"])

    report = scan_model(altered(change))
    assert not report.passed
    assert {finding.text.split()[0] for finding in report.findings if finding.severity == "critical"} == {
        "SaveV2", "MergeV2Checkpoints",
    }  # fmt: skip


def test_the_saver_may_not_have_a_path_of_its_own(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        for function in saved.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                if node.op == "SaveV2":
                    const = function.node_def.add(name="place", op="Const")
                    const.attr["dtype"].type = 7
                    const.attr["value"].tensor.dtype = 7
                    const.attr["value"].tensor.string_val.append(b"/etc/cron.d/x")
                    node.input[0] = "place:output:0"

    report = scan_model(altered(change))
    assert found(report)[0] == ("critical", "op/file-write")
    assert "'/etc/cron.d/x'" in report.findings[0].text


def test_a_save_that_runs_when_the_model_is_loaded_is_refused(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        saver = saved.meta_graphs[0].saver_def
        saver.restore_op_name = saver.save_tensor_name.partition(":")[0]

    assert ("critical", "op/file-write") in found(scan_model(altered(change)))


def test_a_vocabulary_from_elsewhere_is_refused(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        for asset in saved.meta_graphs[0].asset_file_def:
            asset.tensor_info.name = "other:0"

    report = scan_model(altered(change, "vocabulary"))
    assert ("high", "op/file-read") in found(report)


def test_a_graph_inside_of_an_attribute_is_read(altered: Callable[..., Path]) -> None:
    inner = message("tensorflow.GraphDef")()
    inner.node.add(name="w", op="WriteFile")
    outer = message("tensorflow.GraphDef")()
    outer.node.add(name="o", op="Const").attr["value"].tensor.string_val.append(inner.SerializeToString())

    def change(saved: Any) -> None:
        node = serving_function(saved).node_def.add(name="hidden", op="DatasetFromGraph")
        node.attr["graph"].s = outer.SerializeToString()

    report = scan_model(altered(change))
    assert {("critical", "op/file-write"), ("high", "op/hidden-program")} <= set(found(report))
    assert "graph inside" in next(f.where for f in report.findings if f.rule == "op/file-write")


def test_debuggers_and_descriptors_count_by_where_they_lead(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        nodes = serving_function(saved).node_def
        nodes.add(name="quiet", op="DebugIdentityV3")
        nodes.add(name="loud", op="DebugIdentityV3").attr["debug_urls"].list.s.append(b"file:///tmp/dump")
        nodes.add(name="own", op="DecodeProtoV2").attr["descriptor_source"].s = b"local://"
        nodes.add(name="read", op="DecodeProtoV2").attr["descriptor_source"].s = b"/etc/passwd"

    grave = [f for f in scan_model(altered(change)).findings if f.severity != "low"]
    assert [(f.rule, f.where.rpartition(" › ")[2]) for f in grave] == [
        ("op/file-write", "loud"), ("op/file-read", "read"),
    ]  # fmt: skip


def test_a_constant_that_grows_is_refused(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        tensor = serving_function(saved).node_def.add(name="bomb", op="Const").attr["value"].tensor
        tensor.dtype = 1
        tensor.float_val.append(1)
        for _ in range(3):
            tensor.tensor_shape.dim.add(size=2000)

    report = scan_model(altered(change))
    assert found(report)[0] == ("high", "constants/large")
    assert "exhaust the memory" in report.findings[0].text


def test_the_list_of_operations_is_that_of_the_installed_library() -> None:
    """Of another version the list may differ: `python -m lading.scanning.list_ops` writes it anew."""
    code = "import json; from lading.scanning.list_ops import registered_ops; print(json.dumps(registered_ops()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    version, names = json.loads(done.stdout)
    if op_groups.op_list_source() == f"tensorflow-cpu {version}":
        assert set(names) == op_groups.registered()
    assert len(set(names) ^ op_groups.registered()) < 200


def test_layers_with_python_code_are_told(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        node = saved.meta_graphs[0].object_graph_def.nodes.add()
        node.user_object.metadata = '{"class_name": "Lambda", "config": {}}'

    report = scan_model(altered(change))
    assert report.passed
    assert ("info", "objects/lambda") in found(report)


def test_an_operation_that_litert_lacks_is_refused(litert_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(litert_model, copy)
    place = copy / "assets.extra" / "lading" / "litert" / "model.tflite"
    # As flatbuffers are: root, one table (Model) with operator_codes, one of which has a custom_code.
    words = b"FlexWriteFile"
    table = b"".join(
        (
            (16).to_bytes(4, "little"), b"TFL3", b"\x08\x00\x08\x00\x00\x00\x04\x00",
            (8).to_bytes(4, "little"), (4).to_bytes(4, "little"),
            (1).to_bytes(4, "little"), (12).to_bytes(4, "little"),
            b"\x08\x00\x08\x00\x00\x00\x04\x00", (8).to_bytes(4, "little"), (4).to_bytes(4, "little"),
            len(words).to_bytes(4, "little"), words, b"\0",
        )
    )  # fmt: skip
    place.write_bytes(table)
    finding = only(scan_model(copy, engine="litert"))
    assert (finding.severity, finding.rule) == ("critical", "litert/custom-op")
    assert "FlexWriteFile" in finding.text
    place.write_bytes(b"garbage!")
    with pytest.raises(InvalidModel, match="expected a LiteRT model"):
        scan_model(copy)


def test_the_groups_name_operations_that_there_are() -> None:
    """A group that names an operation wrongly protects from nothing; a few are of other libraries."""
    foreign = {"BigQueryReader", "BigtableClient", "KafkaDataset", "Rpc", "TryRpc", "TRTEngineOp"}
    gone = {"RemoteFusedGraphExecute"}
    assert set(op_groups.named_ops()) - op_groups.registered() == foreign | gone
    assert len(op_groups.registered()) > 1500
