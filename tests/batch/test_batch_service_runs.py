"""What a batch service runs when: memory, models that stay, the queue; with models and work that cost nothing."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from listening import until

from lading.batch.job import BatchJob
from lading.batch.model import OpenModel
from lading.batch.options import MIB
from lading.batch.service.memory import TooLarge
from lading.batch.service.models import ModelRef, Models
from lading.batch.service.request import BatchRequest
from lading.batch.service.runs import KEPT, Run, Runs, State
from lading.batch.service.views import events
from lading.batch.stop import Stopped
from lading.batches import BatchReport
from lading.errors import Conflict, EngineError, NotFound, Overloaded


class Shelf:
    """Loads models that are only names, and notes what is loaded."""

    def __init__(self, budget: int = 100) -> None:
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.broken: set[str] = set()
        self.models = Models(budget, self.load)

    @contextmanager
    def load(self, uri: str) -> Iterator[OpenModel]:
        if uri in self.broken:
            raise EngineError("broken")
        self.loaded.append(uri)
        yield OpenModel(cast(Any, uri), f"digest of {uri}")
        self.unloaded.append(uri)

    def use(self, uri: str, *, key: str = "", size: int = 30, run: int = 10) -> None:
        lease = self.models.reserve(ModelRef(uri, key or uri, size), run)
        assert lease is not None
        lease.open()
        lease.close()


def test_a_model_stays_and_the_least_recently_used_goes() -> None:
    shelf = Shelf()
    for uri in ("a", "b", "c", "a"):
        shelf.use(uri)
    assert (shelf.loaded, shelf.unloaded) == (["a", "b", "c"], [])
    assert (shelf.models.model_bytes, shelf.models.run_bytes) == (90, 0)
    shelf.use("d")
    assert shelf.unloaded == ["b"]
    shelf.models.close()
    assert sorted(shelf.unloaded) == ["a", "b", "c", "d"]


def test_a_model_in_use_stays_whatever_is_needed() -> None:
    shelf = Shelf()
    lease = shelf.models.reserve(ModelRef("a", "a", 60), 20)
    assert lease is not None
    lease.open()
    assert shelf.models.reserve(ModelRef("b", "b", 30), 10) is None
    second = shelf.models.reserve(ModelRef("a", "a", 60), 20)
    assert second is not None
    second.close()
    lease.close()
    shelf.use("b", size=50)
    assert shelf.unloaded == ["a"]


def test_nothing_is_unloaded_in_vain() -> None:
    shelf = Shelf()
    shelf.use("idle", size=20)
    lease = shelf.models.reserve(ModelRef("a", "a", 40), 10)
    assert lease is not None
    assert shelf.models.reserve(ModelRef("b", "b", 60), 10) is None
    assert shelf.models.names == ["idle"]
    lease.close()


def test_a_model_that_changed_is_loaded_anew_and_the_old_one_goes() -> None:
    shelf = Shelf()
    shelf.use("a", key="generation 1")
    shelf.use("a", key="generation 2")
    assert (shelf.loaded, shelf.unloaded, shelf.models.model_bytes) == (["a", "a"], ["a"], 30)


def test_a_model_that_cannot_be_loaded_is_tried_again() -> None:
    shelf = Shelf()
    shelf.broken = {"a"}
    lease = shelf.models.reserve(ModelRef("a", "a", 30), 10)
    assert lease is not None
    with pytest.raises(EngineError):
        lease.open()
    lease.close()
    assert (shelf.models.model_bytes, shelf.models.run_bytes) == (0, 0)
    shelf.broken = set()
    shelf.use("a")
    assert shelf.loaded == ["a"]


def test_what_never_fits_is_told_with_the_numbers() -> None:
    with pytest.raises(
        TooLarge, match=r"up to 3 MiB for its blocks and 2 MiB for the model, and the service has 4 MiB"
    ):
        Models(4 * MIB, Shelf().load).check(ModelRef("a", "a", 2 * MIB), 3 * MIB)


class Bench:
    """Runs whose work is to wait."""

    def __init__(self, *, max_runs: int = 2, max_queue: int = 2, budget: int = 100) -> None:
        self.shelf = Shelf(budget)
        self.free = threading.Event()
        self.runs = Runs(self.shelf.models, self.work, max_runs=max_runs, max_queue=max_queue)

    def work(self, run: Run, opened: OpenModel) -> BatchReport:
        while not self.free.wait(0.01):
            if run.stop.asked:
                raise Stopped("stopped")
        return BatchReport(run.request.model != "bad", (), 1, 0, 1, run.request.job.output, (), "", model=opened.digest)

    def submit(self, output: str, *, model: str = "m", key: str = "", size: int = 10) -> Run:
        request = BatchRequest(model, BatchJob(("gs://b/in",), output))
        return self.runs.submit(Run(request, ModelRef(model, model, 20), size, key=key))

    def states(self, *runs: Run) -> list[str]:
        return [run.state.value for run in runs]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.free.set()
    until(lambda: all(run.done.done() for run in made.runs.all()))


def test_runs_wait_for_their_turn_and_too_many_are_refused(bench: Bench) -> None:
    runs = [bench.submit(f"gs://b/{n}") for n in range(4)]
    assert bench.states(*runs) == ["running", "running", "queued", "queued"]
    with pytest.raises(Overloaded, match="2 runs are waiting already"):
        bench.submit("gs://b/5")
    bench.free.set()
    until(lambda: all(run.done.done() for run in runs))
    assert bench.states(*runs) == 4 * ["succeeded"]
    assert [run.report and run.report.model for run in runs] == 4 * ["digest of m"]
    assert bench.shelf.loaded == ["m"]
    assert bench.runs.counts[State.SUCCEEDED] == 4


def test_one_run_at_a_time_writes_to_an_output_and_others_pass_it(bench: Bench) -> None:
    first, second, third = bench.submit("gs://b/o"), bench.submit("gs://b/o/", model="n"), bench.submit("gs://b/p")
    assert bench.states(first, second, third) == ["running", "queued", "running"]
    bench.runs.cancel(first)
    until(lambda: second.state is State.RUNNING or third.state is not State.RUNNING)
    assert bench.states(second, third) == ["running", "running"]


def test_memory_is_waited_for_in_order() -> None:
    bench = Bench(max_runs=9, max_queue=9)
    runs = [bench.submit("gs://b/1", size=50), bench.submit("gs://b/2", size=50), bench.submit("gs://b/3", size=1)]
    assert bench.states(*runs) == ["running", "queued", "queued"]
    with pytest.raises(TooLarge):
        bench.submit("gs://b/4", size=90)
    bench.free.set()
    until(lambda: all(run.done.done() for run in runs))
    assert bench.shelf.models.run_bytes == 0


def test_the_same_request_is_the_same_run_while_it_runs(bench: Bench) -> None:
    first = bench.submit("gs://b/o")
    assert bench.submit("gs://b/o") is first
    keyed = bench.submit("gs://b/o2", key="k")
    with pytest.raises(Conflict, match="was used for another request"):
        bench.submit("gs://b/o3", key="k")
    bench.free.set()
    until(lambda: first.state.is_final and keyed.state.is_final)
    assert bench.submit("gs://b/o2", key="k") is keyed
    assert bench.submit("gs://b/o") is not first


def test_a_run_is_cancelled_while_it_runs_and_while_it_waits(bench: Bench) -> None:
    runs = [bench.submit(f"gs://b/{n}") for n in range(3)]
    for run in runs:
        bench.runs.cancel(run)
    until(lambda: all(run.done.done() for run in runs))
    assert bench.states(*runs) == 3 * ["cancelled"]
    bench.runs.cancel(runs[0])
    assert bench.runs.counts[State.CANCELLED] == 3


def test_at_the_end_runs_stop_and_say_that_they_can_be_asked_again(bench: Bench) -> None:
    runs = [bench.submit(f"gs://b/{n}") for n in range(3)]
    bench.runs.close()
    until(lambda: all(run.done.done() for run in runs))
    assert bench.states(*runs) == 3 * ["failed"]
    assert all("Ask again" in str(run.error) for run in runs)
    with pytest.raises(Overloaded, match="stopping"):
        bench.submit("gs://b/9")


def test_events_without_news_keep_the_connection(bench: Bench) -> None:
    run = bench.submit("gs://b/o")

    async def follow() -> list[str]:
        seen = []
        async for event in events(run, every_seconds=0.01, keep_alive_seconds=0.05):
            seen.append(event.decode().splitlines()[0])
            if len(seen) == 4:
                bench.free.set()
        return seen

    assert asyncio.run(follow())[:4] == ["retry: 2000", "event: progress", ": waiting", ": waiting"]


def test_runs_that_ended_are_forgotten_one_day() -> None:
    bench = Bench(max_runs=1, max_queue=KEPT + 10)
    bench.free.set()
    runs = [bench.submit("gs://b/bad", model="bad")]
    runs += [bench.submit(f"gs://b/{n}") for n in range(KEPT)]
    until(lambda: all(run.done.done() for run in runs))
    assert runs[0].state is State.REJECTED
    with pytest.raises(NotFound, match="no run"):
        bench.runs.get(runs[0].id)
    assert bench.runs.get(runs[-1].id) is runs[-1]
    assert len(bench.runs.all()) == KEPT
