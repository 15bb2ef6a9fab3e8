"""The benchmark of servers judges rightly: its requests, its check of answers, its goals, its pinned lists."""

import json
from array import array
from typing import Any

import pytest

from benchmarks.serving import bodies, report
from benchmarks.serving.bodies import Body
from benchmarks.serving.environments import REQUIREMENTS
from benchmarks.serving.processes import least_disturbed
from benchmarks.serving.servers import ECHO_GRANIAN, PEERS


def record(server: str, turn: int, **values: Any) -> dict[str, Any]:
    usual = {"body": "mlp-1", "rate": 100.0, "p50_ms": 1.0, "p99_ms": 2.0, "errors": 0, "wrong": None, "rss_mib": 100.0}
    return {"server": server, "round": turn, **usual, **values}


def test_one_instance_is_sent_as_it_was_committed() -> None:
    content, headers = Body("mlp-1", bodies.fashion(1), []).request("v1")
    assert content == bodies.ONE.read_bytes()
    assert headers == {"Content-Type": "application/json"}


def test_more_instances_are_the_same_in_every_run_and_differ_from_each_other() -> None:
    rows = bodies.fashion(32)
    assert rows == bodies.fashion(32)
    assert len({json.dumps(row) for row in rows}) == 32


def test_the_binary_form_has_json_then_numbers() -> None:
    content, headers = Body("b", [[1.0, 2.0], [3.0, 4.5]], []).request("binary")
    size = int(headers["Inference-Header-Content-Length"])
    (tensor,) = json.loads(content[:size])["inputs"]
    assert tensor["shape"] == [2, 2]
    assert tensor["parameters"] == {"binary_data_size": 16}
    assert array("f", content[size:]).tolist() == [1.0, 2.0, 3.0, 4.5]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b'{"predictions": [[0.25, 0.75]]}', None),
        (b'{"predictions": [[0.2500001, 0.75]]}', None),
        (b'{"predictions": [[0.75, 0.25]]}', "a wrong answer, off by up to 0.5"),
        (b'{"predictions": [[0.25]]}', "expected 2 numbers, received 1"),
        (b'{"error": "no"}', "not an answer"),
        (b"", "not an answer"),
    ],
)
def test_an_answer_is_right_or_its_problem_is_told(answer: bytes, problem: str | None) -> None:
    said = Body("b", [[1.0]], [[0.25, 0.75]]).problem("v1", answer)
    assert said is None if problem is None else said is not None and said.startswith(problem)


def test_goals_compare_within_rounds_and_with_the_best_peer() -> None:
    rates = {"echo": (1000, 500), "lading-litert": (800, 400), "fastapi": (100, 50), "kserve": (160, 80)}
    records = [record(name, turn, rate=rate) for name, pair in rates.items() for turn, rate in enumerate(pair)]
    goals = {goal.what: goal for goal in report.load_goals(records)}
    assert goals["litert, mlp-1: of the echo limit"].value == pytest.approx(0.8)
    assert goals["litert, mlp-1: of the echo limit"].met
    assert goals["litert, mlp-1: times kserve"].value == pytest.approx(5)
    assert not goals["litert, mlp-1: times kserve"].met


def test_errors_and_wrong_answers_fail_their_goal() -> None:
    records = [record("lading-tensorflow", 0, errors=1), record("lading-tensorflow", 1, wrong="off by 1")]
    (goal,) = (goal for goal in report.load_goals(records) if goal.what.endswith("errors"))
    assert (goal.value, goal.met) == (2, False)


def test_saturation_takes_the_engines_best_rate_and_shows_processor_time_beside() -> None:
    in_process = {"1": {"rate": 60.0, "cpu_us": 15_000.0}, "2": {"rate": 100.0, "cpu_us": 19_000.0}}
    used = {"server_cores": 1.9, "wrk_cores": 0.08, "other_cores": 0.01}
    records = [record("lading-litert", 0, body="cnn-1", rate=95, in_process=in_process, **used)]
    (goal,) = report.saturation_goals(records)
    assert (goal.value, goal.met) == (0.95, True)
    heads, row = report.saturation_table(records)
    shown = dict(zip(heads, row, strict=True))
    assert [shown[head] for head in ("in process/s", "threads", "ratio")] == ["100", "2", "0.95"]
    costs = ("CPU µs/answer", "in process, CPU µs", "ratio of CPU")
    assert [shown[head] for head in costs] == ["20000", "19000", "0.95"]
    assert [shown[head] for head in ("server's CPUs", "load's CPUs", "others' CPUs")] == ["1.90", "0.08", "0.01"]


def test_a_disturbed_measurement_is_made_again() -> None:
    noise = iter([0.9, 0.1, 0.0])
    assert least_disturbed(lambda: {"other_cores": next(noise)}) == {"other_cores": 0.1}


def test_pinned_lists_are_complete_and_name_no_host() -> None:
    assert {peer.environment for peer in (ECHO_GRANIAN, *PEERS.values())} == {
        path.stem for path in REQUIREMENTS.iterdir()
    }
    for path in REQUIREMENTS.iterdir():
        for line in path.read_text().splitlines():
            assert "==" in line, f"{path.name}: {line}"
            assert "://" not in line
            assert not line.startswith("-")
