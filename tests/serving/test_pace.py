"""What is answered on the event loop, and how many requests a thread takes at once."""

import pytest

from lading.predict.cpus import available_cpus
from lading.serving import pace
from lading.serving.pace import Pace

PATH = "/v1/models/m:predict"
QUICK, SLOW, VERY_SLOW = 0.0001, 0.003, 1.0


class Models:
    generation = 0


@pytest.fixture
def models() -> Models:
    return Models()


def record(of: Pace, seconds: float, count: int = 1, *, size: int = 0) -> None:
    for _ in range(count):
        of.record(PATH, seconds, size)


def test_a_quick_model_has_to_prove_itself(models: Models) -> None:
    found = Pace(models)
    record(found, QUICK, pace.TRIALS - 1)
    assert not found.is_quick(PATH, 100)
    record(found, QUICK)
    assert found.is_quick(PATH, 100)
    assert not found.is_quick(PATH, pace.MOST_BYTES + 1)
    assert not found.is_quick("/v1/models/other:predict", 100)


def test_other_models_have_to_prove_themselves_anew(models: Models) -> None:
    found = Pace(models)
    record(found, QUICK, 100)
    models.generation += 1
    assert not found.is_quick(PATH, 100)
    assert found.most_together(PATH) == 1


def test_a_few_slower_answers_are_forgiven_and_one_that_takes_very_long_is_not(models: Models) -> None:
    found = Pace(models)
    record(found, QUICK, 100)
    record(found, SLOW, pace.TRIALS)
    assert found.is_quick(PATH, 100)
    record(found, VERY_SLOW)
    record(found, QUICK, pace.PROBATION)
    assert not found.is_quick(PATH, 100)
    record(found, QUICK, pace.TRIALS)
    assert found.is_quick(PATH, 100)


def test_what_is_quick_in_a_thread_only_is_hardly_ever_tried_on_the_event_loop(models: Models) -> None:
    # A thread does not see what TensorFlow's own threads compute for it.
    found, on_loop, requests = Pace(models), 0, 2000
    for _ in range(requests):
        is_quick = found.is_quick(PATH, 100)
        on_loop += is_quick
        found.record(PATH, SLOW if is_quick else QUICK)
    assert 0 < on_loop < 0.06 * requests


@pytest.mark.skipif(available_cpus() == 1, reason="threads bring nothing on a single processor")
def test_a_model_of_a_millisecond_goes_to_threads_and_json_that_takes_as_long_to_read_does_not(models: Models) -> None:
    heavy, long = Pace(models), Pace(models)
    record(heavy, 0.001, 100, size=7000)
    record(long, 0.001, 100, size=220_000)
    assert (heavy.is_quick(PATH, 7000), long.is_quick(PATH, 220_000)) == (False, True)


@pytest.mark.parametrize(("seconds", "most"), [(QUICK, 4), (0.0024, 4), (0.004, 2), (0.006, 1), (float("inf"), 1)])
def test_a_thread_takes_what_it_can_answer_soon(models: Models, seconds: float, most: int) -> None:
    found = Pace(models)
    assert found.most_together(PATH) == 1
    record(found, seconds)
    assert found.most_together(PATH) == most
