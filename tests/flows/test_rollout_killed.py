"""A rollout that is killed at any moment, and run again, ends as if nothing had been."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rollout_stage import GOLDEN, Stage, command, service_on, stages, users

from lading.settle import settle_release
from lading.targets.base import Phase
from lading.wait import Deadline

WORDS = ("--steps", "20,60,100", "--hold", "0.3s")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stages(tmp_path / "place") as place, service_on(place) as made:
        yield made


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    path = tmp_path / "golden.jsonl"
    path.write_text(GOLDEN.to_line())
    return path


@contextmanager
def looks(stage: Stage) -> Iterator[list[int]]:
    """The sums of the traffic's percents, over and over."""
    sums: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            sums.append(sum(stage.split().values()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield sums
    finally:
        ended.set()
        thread.join()


def ends_as_it_should(stage: Stage, golden: Path, moments: int, seed: int) -> None:
    first = stage.run(stage.plan())
    began = time.monotonic()
    running = command(stage, stage.plan(label="undisturbed"), golden, *WORDS, "--release", "undisturbed")
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    whole, chance, killed = time.monotonic() - began, random.Random(seed), []
    with users(first.candidate.service_url, at_once=1) as statuses, looks(stage) as sums:
        for number in range(moments):
            plan, before = stage.plan(label=f"killed {number}"), stage.split()
            words = (*WORDS, "--release", f"killed-{number}")
            running, moment = command(stage, plan, golden, *words), chance.uniform(0.25, 0.98) * whole
            time.sleep(moment)
            running.kill()
            running.communicate(timeout=60)
            killed.append(f"after {moment:.2f} of {whole:.2f} s: {stage.phase()} {list(stage.split().values())}")
            running = command(stage, plan, golden, *words)
            _, err = running.communicate(timeout=60)
            assert running.returncode == 0, (killed[-1], err)
            (now,) = stage.split().items()
            assert (now[1], now[0] in before) == (100, False), killed[-1]
            assert stage.phase() is Phase.PROMOTED, killed[-1]
            done = settle_release(stage.service, target=stage.target, release_id="", deadline=Deadline.after(20))
            assert done == "nothing to undo", killed[-1]
    assert set(sums) == {100}, killed
    assert set(statuses) == {200}, killed
    # Were they all killed before they began, or after their end, this would show nothing.
    assert any("shifting" in one or "candidate" in one for one in killed), killed


@pytest.mark.slow  # by default after each of its writes, in tests/targets/test_local_target.py
def test_a_rollout_killed_at_random_and_run_again_ends_the_same(stage: Stage, golden: Path) -> None:
    ends_as_it_should(stage, golden, 3, seed=6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rollout_killed_at_many_moments_and_run_again_ends_the_same(stage: Stage, golden: Path) -> None:
    ends_as_it_should(stage, golden, 24, seed=7)
