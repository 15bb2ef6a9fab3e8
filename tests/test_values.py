import json

import pytest

from lading.errors import InvalidInput, InvalidReference
from lading.releases import Candidate, SmokeReport
from lading.results import ClassScore, EvaluationReport, LocalEndpoint, verdict_from_json
from lading.values import Check, GoldenRequest, ImageRef, from_json, to_json

DIGEST = "sha256:" + "a" * 64

EVALUATION = EvaluationReport(
    passed=False,
    checks=(Check("accuracy", False, "≥ 0.8", "0.5"),),
    rows=4,
    accuracy=0.5,
    log_loss=1.25,
    per_class=(ClassScore("cat", 1.0, 0.5, 2), ClassScore("dog", 0.5, 0.5, 2)),
    confusion=((1, 1), (1, 1)),
    champion="none",
)


def test_a_value_survives_its_json() -> None:
    assert from_json(to_json(EVALUATION), EvaluationReport) == EVALUATION
    assert verdict_from_json(to_json(EVALUATION)) == EVALUATION


def test_json_names_kind_and_version() -> None:
    body = json.loads(to_json(EVALUATION))
    assert (body["kind"], body["version"]) == ("EvaluationReport", 1)


def test_fields_of_a_newer_release_are_ignored_and_a_newer_version_is_not() -> None:
    body = json.loads(to_json(EVALUATION))
    assert from_json(json.dumps({**body, "unheard_of": 1}), EvaluationReport) == EVALUATION
    with pytest.raises(InvalidInput, match="newer lading"):
        from_json(json.dumps({**body, "version": 2}), EvaluationReport)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not JSON"),
        ("[]", "received kind None"),
        (to_json(EVALUATION), "expected the JSON of a Candidate, received kind 'EvaluationReport'"),
        ('{"kind": "Candidate", "version": 1, "service": "s"}', "Candidate lacks target, release_id"),
    ],
)
def test_another_text_is_refused_by_what_it_is(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        from_json(text, Candidate)


@pytest.mark.parametrize("text", ["taxi", "taxi:latest", "taxi@sha256:abc", f"@{DIGEST}", f"taxi@{DIGEST}0"])
def test_an_image_without_a_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="expected an image by digest"):
        ImageRef.parse(text)


def test_an_image_reference_keeps_a_port_in_its_repository() -> None:
    ref = ImageRef.parse(f"127.0.0.1:5000/a/b@{DIGEST}")
    assert (ref.repository, str(ref)) == ("127.0.0.1:5000/a/b", f"127.0.0.1:5000/a/b@{DIGEST}")


def test_golden_requests_survive_their_lines_and_a_bad_line_is_named() -> None:
    golden = GoldenRequest("serving_default", {"x": [[1.5]]}, {"y": [[0.1]]}, 1e-4, 1e-5)
    text = golden.to_line() + "\n\n" + golden.to_line() + "\n"
    assert GoldenRequest.read_all(text) == (golden, golden)
    with pytest.raises(InvalidInput, match="line 3: "):
        GoldenRequest.read_all(text.replace(golden.to_line(), "{", 2).replace("{", golden.to_line(), 1))


def test_a_token_stays_out_of_the_repr() -> None:
    assert "secret" not in repr(LocalEndpoint("http://127.0.0.1:1", "secret"))


def test_a_smoke_report_is_a_verdict_too() -> None:
    report = SmokeReport(True, f"taxi@{DIGEST}", "r1", "http://127.0.0.1:1", (), (), 1.5)
    assert verdict_from_json(to_json(report)) == report
