"""When a candidate is as good as what served before."""

import pytest

from lading.judging import CHANCE_EARLY, Limits, by_chance, judge_probes, judge_users
from lading.releases import RevisionHealth
from lading.targets.traffic import TrafficSeen


def health(requests: int, errors: int = 0, *, refused: int = 0, median: float = 5.0, wrong: int = 0) -> RevisionHealth:
    return RevisionHealth("r", requests, errors, wrong, median, median, refused=refused)


def failed(ours: RevisionHealth, others: RevisionHealth, *, beside: bool = True) -> list[str]:
    return [check.name for check in judge_users(ours, others, Limits(), beside=beside) if not check.passed]


@pytest.mark.parametrize(("ours", "others"), [(health(99, 99), health(5000)), (health(5000, 99), health(99))])
def test_too_few_users_are_not_judged_by(ours: RevisionHealth, others: RevisionHealth) -> None:
    assert judge_users(ours, others, Limits(), beside=True) == ()


@pytest.mark.parametrize(
    ("ours", "others", "expected"),
    [
        (health(100), health(100), []),
        (health(200, 3), health(2000, 20), []),  # 1.5 % beside 1 %: chance
        (health(100, 1), health(10000), []),  # one is none
        (health(100, 5), health(1000), ["users' errors"]),
        (health(2000, 40), health(2000, 2), ["users' errors"]),
        (health(100, refused=50), health(1000, refused=400), []),
        (health(100, refused=90), health(1000, refused=400), ["users' refusals"]),
        (health(100, median=24.9), health(100), []),
        (health(100, median=25.1), health(100), ["users' latency"]),
    ],
)
def test_users_must_fare_no_worse_than_chance_explains(
    ours: RevisionHealth, others: RevisionHealth, expected: list[str]
) -> None:
    assert failed(ours, others) == expected


def test_latency_of_another_time_is_not_compared() -> None:
    assert failed(health(100, median=500.0), health(100), beside=False) == []


def test_the_limit_is_what_chance_reaches_once_in_a_thousand_times() -> None:
    for of in (100, 400):
        for others in (0, 4, 40):
            first = next(n for n in range(of) if by_chance(n, of, others, 1000) < 0.001)
            assert failed(health(of, first), health(1000, others)) == ["users' errors"]
            assert failed(health(of, first - 1), health(1000, others)) == []
            assert by_chance(0, of, others, 1000) == pytest.approx(1.0)


def test_who_looks_often_asks_for_more() -> None:
    ours, others = health(400, 7), health(1000)
    assert failed(ours, others) == ["users' errors"]
    assert all(check.passed for check in judge_users(ours, others, Limits(), beside=True, chance=CHANCE_EARLY))


def test_chance_is_that_of_drawing_without_returning() -> None:
    # 2 of 4 errors among 3 of 10: (C(4,2)·C(6,1) + C(4,3)) / C(10,3)
    assert by_chance(2, 3, 2, 7) == pytest.approx((6 * 6 + 4) / 120)


def test_probes_are_judged_strictly() -> None:
    assert all(check.passed for check in judge_probes(health(500), health(250), Limits()))
    (check,) = [found for found in judge_probes(health(500, 1), health(250), Limits()) if not found.passed]
    assert (check.name, check.received) == ("errors", "1 of 500")


def seen(buckets: tuple[int, ...], since: str = "a", errors: int = 0) -> TrafficSeen:
    return TrafficSeen(since, sum(buckets) + errors, 0, errors, (1.0, 2.0, 4.0), buckets)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [((0, 0, 0, 0), 0.0), ((0, 10, 0, 0), 1.5), ((5, 5, 0, 0), 1.0), ((0, 0, 1, 0), 3.0), ((0, 0, 0, 7), 4.0)],
)
def test_a_median_is_read_from_a_histogram(buckets: tuple[int, ...], expected: float) -> None:
    assert seen(buckets).quantile_milliseconds(0.5) == pytest.approx(expected)


def test_counters_that_began_anew_are_taken_as_they_are() -> None:
    before, now = seen((1, 2, 3, 4), errors=2), seen((2, 2, 3, 9), errors=3)
    assert now.after(before) == seen((1, 0, 0, 5), errors=1)
    assert now.after(None) == now
    assert seen((1, 0, 0, 0), "b").after(before) == seen((1, 0, 0, 0), "b")
    assert TrafficSeen.of_all([before, now]) == seen((3, 4, 6, 13), errors=5)
    assert TrafficSeen.of_all([]) is None
