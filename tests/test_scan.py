"""What a scan finds in models that do what they should not, and what it says of those that only look so."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lading.errors import InvalidInput, InvalidModel
from lading.predict.protos import message
from lading.report import render_verdict
from lading.results import ScanFinding, ScanReport, verdict_from_json
from lading.scan import scan_model
from lading.scanning import op_groups
from lading.scanning.policy import Policy
from lading.values import to_json

LADING = [sys.executable, "-m", "lading"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``scan_models.py``. Do not alter."""
    directory = tmp_path_factory.mktemp("scan-models")
    command = [sys.executable, Path(__file__).parent / "scan_models.py", directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert not done.returncode, done.stderr
    return directory


@pytest.fixture
def altered(models: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies a model and changes its SavedModel message."""

    def alter(change: Callable[[Any], None], name: str = "print_to_log") -> Path:
        copy = tmp_path / "altered"
        shutil.copytree(models / name, copy, dirs_exist_ok=True)
        saved = message("tensorflow.SavedModel").FromString((copy / "saved_model.pb").read_bytes())
        change(saved)
        (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
        return copy

    return alter


def found(report: ScanReport) -> list[tuple[str, str]]:
    return [(finding.severity, finding.rule) for finding in report.findings]


def only(report: ScanReport) -> ScanFinding:
    (finding,) = report.findings
    return finding


def serving_function(saved: Any) -> Any:
    functions = saved.meta_graphs[0].graph_def.library.function
    return next(f for f in functions if f.signature.name.startswith("__inference_serve"))


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
def test_what_reaches_beyond_the_model_is_refused(models: Path, name: str, severity: str, rule: str, said: str) -> None:
    report = scan_model(models / name)
    assert not report.passed
    finding = only(report)
    assert (finding.severity, finding.rule) == (severity, rule)
    assert re.search(said, finding.text)
    assert finding.where.startswith("signature serving_default › ")
    assert [check.name for check in report.checks if not check.passed] == ["operations"]


@pytest.mark.parametrize("name", ["keras", "mobilenet", "vocabulary", "cache_in_memory"])
def test_usual_models_have_no_findings(models: Path, name: str) -> None:
    report = scan_model(models / name)
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


def test_lesser_things_are_told_and_pass(models: Path) -> None:
    printed, big = scan_model(models / "print_to_log"), scan_model(models / "big_constant")
    assert printed.passed
    assert found(printed) == [("low", "op/log")]
    assert big.passed
    assert found(big) == [("low", "constants/large")]
    assert "12 MiB" in only(big).text


def test_every_graph_of_a_model_is_read(models: Path) -> None:
    finding = only(scan_model(models / "two_graphs"))
    assert finding.rule == "op/file-write"
    assert "main graph (train)" in finding.where


def test_a_custom_operation_is_refused_unless_the_policy_allows_it(altered: Callable[..., Path]) -> None:
    def change(saved: Any) -> None:
        serving_function(saved).node_def.add(name="mine", op="MyOwnOp")

    path = altered(change)
    report = scan_model(path)
    assert not report.passed
    assert report.findings[0].rule == "op/custom"
    assert "MyOwnOp is no operation of TensorFlow" in report.findings[0].text
    for policy in (Policy(allow_custom_ops=True), Policy(allow_ops=("MyOwnOp",))):
        allowed = scan_model(path, policy=policy)
        assert allowed.passed
        assert allowed.findings[0].accepted


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


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\b"])
def test_an_asset_that_leads_out_of_the_model_is_refused(altered: Callable[..., Path], name: str) -> None:
    def change(saved: Any) -> None:
        saved.meta_graphs[0].asset_file_def[0].filename = name

    report = scan_model(altered(change, "vocabulary"))
    assert ("critical", "assets/escape") in found(report)
    assert not {check.name: check.passed for check in report.checks}["assets"]


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


def test_files_that_do_not_belong(models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(models / "vocabulary", model)
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


def test_a_model_inside_of_the_model_is_read(models: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(models / "keras", model)
    shutil.copytree(models / "read_file", model / "assets.extra" / "other")
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


def test_a_graph_that_is_a_link_out_of_the_model_is_not_read(models: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").symlink_to(models / "keras" / "saved_model.pb")
    assert found(scan_model(tmp_path / "model")) == [("critical", "format/no-graph"), ("high", "files/symlink")]


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


def test_files_that_are_cut_off_or_garbage_are_refused_and_never_crash(models: Path, tmp_path: Path) -> None:
    whole = (models / "write_in_loop" / "saved_model.pb").read_bytes()
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


def test_a_policy_allows_denies_and_accepts_with_a_reason(models: Path) -> None:
    read = models / "read_file"
    assert not scan_model(read).passed
    assert scan_model(read, policy=Policy.read('{"allow_ops": ["ReadFile"]}')).passed
    assert scan_model(read, policy=Policy.read('fail_on = "critical"')).passed
    toml = '[[ignore]]\nrule = "op/file-*"\nwhere = "*__inference_serve_*"\nreason = "reads its own name"\n'
    accepted = scan_model(read, policy=Policy.read(toml))
    assert accepted.passed
    assert only(accepted).accepted == "reads its own name"
    assert not scan_model(read, policy=Policy.read(toml.replace("serve", "other"))).passed
    denied = scan_model(models / "keras", policy=Policy.read('deny_ops = ["Softmax"]'))
    assert not denied.passed
    assert {finding.rule for finding in denied.findings} == {"op/denied"}
    assert not scan_model(models / "print_to_log", policy=Policy(fail_on="low")).passed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected TOML, or a JSON object"),
        ("a = ", "expected TOML, or a JSON object"),
        (
            "allow = []",
            "unknown key allow; there are allow_custom_ops, allow_ops, deny_ops, fail_on, ignore, max_const",
        ),
        ('fail_on = "bad"', "expected one of info, low, medium, high, critical, received 'bad'"),
        ('allow_ops = "ReadFile"', "allow_ops: expected a list of names"),
        ("allow_custom_ops = 1", "allow_custom_ops: expected true or false"),
        ("max_constant_bytes = 0", "max_constant_bytes: expected a number from 1 on"),
        ('{"ignore": [{"rule": "op/custom"}]}', "expected a rule and a reason"),
        ('{"ignore": [{"rule": "x", "reason": "y", "node": "z"}]}', "unknown key of ignore node; there are reason"),
        ('{"ignore": {}}', "expected a list of {rule, reason, where}"),
        ('{"allow_ops": ["A"], "deny_ops": ["A"]}', "A: both allowed and denied"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Policy.read(text)


def test_the_groups_name_operations_that_there_are() -> None:
    """A group that names an operation wrongly protects from nothing; a few are of other libraries."""
    foreign = {"BigQueryReader", "BigtableClient", "KafkaDataset", "Rpc", "TryRpc", "TRTEngineOp"}
    gone = {"RemoteFusedGraphExecute"}
    assert set(op_groups.named_ops()) - op_groups.registered() == foreign | gone
    assert len(op_groups.registered()) > 1500


def test_the_verdict_is_a_value_and_a_page(models: Path) -> None:
    report = scan_model(models / "write_file")
    assert verdict_from_json(to_json(report)) == report
    page = render_verdict(report)
    assert "Scan: " in page
    assert "WriteFile writes any file" in page
    assert report.files["saved_model.pb"].sha256 in page
    assert "Nothing was found" in render_verdict(scan_model(models / "keras"))


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*LADING, "scan", *words], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_what_it_found_and_exits_by_it(models: Path, tmp_path: Path) -> None:
    html, report, policy = tmp_path / "page.html", tmp_path / "report.json", tmp_path / "policy.toml"
    done = run(models / "write_file", "--html", html, "--report", report)
    assert done.returncode == 1
    assert re.search(r"^critical +op/file-write +signature serving_default › .*WriteFile", done.stdout, re.M)
    assert "REJECTED" in done.stdout
    assert "<html" in html.read_text()
    assert json.loads(report.read_text())["kind"] == "ScanReport"
    policy.write_text('allow_ops = ["WriteFile"]')
    done = run(models / "write_file", "--policy", policy, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"] is True
    policy.write_text("allow = 1")
    assert run(models / "keras", "--policy", policy).returncode == 2
    assert run(tmp_path / "missing").returncode == 2


def test_a_scan_imports_neither_tensorflow_nor_protobuf_nor_numpy(models: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lading.scan import scan_model;"
        f"assert not scan_model(Path({str(models / 'write_file')!r})).passed;"
        "sys.exit(bool({'tensorflow', 'google.protobuf', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
