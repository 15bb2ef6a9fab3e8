"""What is asked of the servers: how soon they answer, how much they answer, what they use.

Servers take turns (A B C, A B C, …), each in a fresh process and alone on the machine: a machine's speed drifts, and
what is compared is measured within the same minute. Every answer that is waited for is compared with TensorFlow's own.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.serving import bodies, load, models, processes
from benchmarks.serving.bodies import Body
from benchmarks.serving.processes import Record
from benchmarks.serving.running import Running
from benchmarks.serving.servers import Server, lading

ROW_COUNTS = (1, 32)
HEAVY = (("cnn", False), ("mobilenetv2", False), ("mobilenetv2", True))
"""Models that cost something, and whether they are asked in the binary form: as JSON a picture of 600 kB costs about as
much to read as MobileNetV2 to compute."""


@dataclass(frozen=True)
class Bench:
    """Where things are, and how long is measured."""

    cache: Path
    """Virtual environments (``venvs/``) and models (``models/``)."""
    scratch: Path
    """What ``lading convert`` writes, for this run only."""
    rounds: int
    seconds: int
    """Of one window of load."""

    def body(self, model: str, count: int = 1) -> Body:
        """A request of ``count`` rows, with what the model answers."""
        rows = bodies.photograph() if model == "mobilenetv2" else bodies.fashion(count)
        return Body(f"{model}-{count}", rows, models.answers(self.saved_model(model), rows))

    def saved_model(self, model: str) -> Path:
        """A model as TensorFlow serves it."""
        return models.saved_model(model, self.cache)

    def served(self, model: str, server: Server) -> Path:
        """The model in the form that a server takes."""
        path = self.saved_model(model)
        return models.converted(path, self.scratch / model) if server.engine == "litert" else path

    def start(self, server: Server, model: str, body: Body) -> Running:
        """The server, just started."""
        return Running(server, self.served(model, server), body, self.cache / "venvs")


def starts(bench: Bench, servers: Sequence[Server]) -> list[Record]:
    """Seconds from the start of the process to the first right answer, for each server and round."""
    body = bench.body("mlp")

    def measure(server: Server) -> Record:
        return processes.least_disturbed(lambda: _start(bench, server, body))

    _take_turns(1, servers, measure)  # fills the page cache, and writes bytecode; not counted
    return _take_turns(bench.rounds, servers, measure)


def loads(bench: Bench, servers: Sequence[Server]) -> list[Record]:
    """A window of load for each server, round and number of rows, with memory before and after."""
    records = []
    for count in ROW_COUNTS:
        body = bench.body("mlp", count)
        records += _take_turns(bench.rounds, servers, partial(_load, bench, "mlp", body))
    return records


def saturations(bench: Bench, engines: Sequence[str], *, python: str) -> list[Record]:
    """For models that cost something: rate and processor time without HTTP (``in_process``), and behind it."""
    records = []
    for model, binary in HEAVY:
        body = bench.body(model)
        servers = [lading(engine, binary=binary, python=python) for engine in engines]
        records += _take_turns(bench.rounds, servers, partial(_compare, bench, model, body))
    return records


def _start(bench: Bench, server: Server, body: Body) -> Record:
    others = processes.Others()
    with bench.start(server, "mlp", body) as running:
        seconds = running.wait_right()
        return {"seconds": seconds, "other_cores": others.cores(processes.cpu_seconds(running.pids()))}


def _load(bench: Bench, model: str, body: Body, server: Server) -> Record:
    with bench.start(server, model, body) as running:
        running.wait_right()
        before = processes.memory_mib(running.pids())
        window = load.measure(running, seconds=bench.seconds)
        after = processes.memory_mib(running.pids())
    names = ("loaded_rss_mib", "loaded_pss_mib", "rss_mib", "pss_mib")
    name = f"{body.name}, binary" if server.form == "binary" else body.name
    return {"body": name, **window, **dict(zip(names, before + after, strict=True))}


def _compare(bench: Bench, model: str, body: Body, server: Server) -> Record:
    def measure() -> Record:
        others = processes.Others()
        rates = models.rates(bench.served(model, server), server.engine, body.rows, seconds=bench.seconds)
        return {"in_process": rates, "other_cores": others.cores(0)}

    engine = processes.least_disturbed(measure)
    return {**_load(bench, model, body, server), "in_process": engine["in_process"]}


def _take_turns(rounds: int, servers: Sequence[Server], measure: Callable[[Server], Record]) -> list[Record]:
    records = []
    for turn in range(1, rounds + 1):
        for server in servers:
            records.append({"round": turn, "server": server.name, **measure(server)})
            shown = [f"{key}={value:.4g}" for key, value in records[-1].items() if isinstance(value, float)]
            print(f"{turn}/{rounds} {server.name}:", *shown, file=sys.stderr, flush=True)
    return records
