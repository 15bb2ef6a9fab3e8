"""A policy allows, denies and accepts; one that cannot be read is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from findings import only, serving_function

from lading.errors import InvalidInput
from lading.scan import scan_model
from lading.scanning.policy import Policy


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


def test_a_policy_allows_denies_and_accepts_with_a_reason(scan_models: Path) -> None:
    read = scan_models / "read_file"
    assert not scan_model(read).passed
    assert scan_model(read, policy=Policy.read('{"allow_ops": ["ReadFile"]}')).passed
    assert scan_model(read, policy=Policy.read('fail_on = "critical"')).passed
    toml = '[[ignore]]\nrule = "op/file-*"\nwhere = "*__inference_serve_*"\nreason = "reads its own name"\n'
    accepted = scan_model(read, policy=Policy.read(toml))
    assert accepted.passed
    assert only(accepted).accepted == "reads its own name"
    assert not scan_model(read, policy=Policy.read(toml.replace("serve", "other"))).passed
    denied = scan_model(scan_models / "keras", policy=Policy.read('deny_ops = ["Softmax"]'))
    assert not denied.passed
    assert {finding.rule for finding in denied.findings} == {"op/denied"}
    assert not scan_model(scan_models / "print_to_log", policy=Policy(fail_on="low")).passed


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
