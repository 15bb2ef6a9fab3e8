"""Tables of the figures, and whether each goal is met."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.serving.processes import Record

ENGINES = ("litert", "tensorflow")
OF_ECHO = {"litert": 0.70, "tensorflow": 0.35}
OF_BEST_PEER = {"litert": 6.0, "tensorflow": 3.0}
OF_ECHO_MANY = 0.6
"""For 32 rows a request."""
MOST_TAIL = 3.0
"""p99 over p50."""
START_SECONDS = {"litert": 0.25, "tensorflow": 0.45}
START_OF_PEER = 4.0
RSS_MIB = {"litert": 120.0, "tensorflow": 300.0}
OF_ENGINE = 0.9
"""The rate behind HTTP over that of the engine in process."""


@dataclass(frozen=True)
class Goal:
    """One goal, and what was measured."""

    what: str
    limit: float
    value: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def by_server(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each server, in order of rounds."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["server"], []).append(record)
    return found


def median(records: Sequence[Record], value: Callable[[Record], float]) -> float:
    return statistics.median(map(value, records))


def ratio(ours: Sequence[Record], theirs: Sequence[Record], key: str) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs, strict=True))


def start_goals(records: Sequence[Record]) -> Iterator[Goal]:
    servers = by_server(records)
    for engine, ours in _ours(servers):
        yield Goal(f"{engine}: start, s", START_SECONDS[engine], median(ours, lambda r: r["seconds"]), False)
        if peers := _peers(servers):
            best = min(peers, key=lambda peer: median(peers[peer], lambda r: r["seconds"]))
            yield Goal(f"{engine}: start, times {best}'s", START_OF_PEER, ratio(peers[best], ours, "seconds"), True)


def load_goals(records: Sequence[Record]) -> Iterator[Goal]:
    for body in dict.fromkeys(record["body"] for record in records):
        servers = by_server([record for record in records if record["body"] == body])
        for engine, ours in _ours(servers):
            yield from _rate_goals(f"{engine}, {body}", engine, ours, servers)
            yield Goal(
                f"{engine}, {body}: p99 / p50", MOST_TAIL, median(ours, lambda r: r["p99_ms"] / r["p50_ms"]), False
            )
            yield Goal(f"{engine}, {body}: errors", 0, sum(r["errors"] + bool(r["wrong"]) for r in ours), False)


def _rate_goals(what: str, engine: str, ours: list[Record], servers: dict[str, list[Record]]) -> Iterator[Goal]:
    one = what.endswith("-1")
    if "echo" in servers:
        limit = OF_ECHO[engine] if one else OF_ECHO_MANY
        yield Goal(f"{what}: of the echo limit", limit, ratio(ours, servers["echo"], "rate"), True)
    if one and (peers := _peers(servers)):
        best = max(peers, key=lambda peer: median(peers[peer], lambda r: r["rate"]))
        yield Goal(f"{what}: times {best}", OF_BEST_PEER[engine], ratio(ours, peers[best], "rate"), True)


def memory_goals(records: Sequence[Record]) -> Iterator[Goal]:
    for engine, ours in _ours(by_server(records)):
        yield Goal(f"{engine}: RSS, MiB", RSS_MIB[engine], max(r["rss_mib"] for r in ours), False)


def saturation_goals(records: Sequence[Record]) -> Iterator[Goal]:
    for body in dict.fromkeys(record["body"] for record in records):
        for engine, ours in _ours(by_server([record for record in records if record["body"] == body])):
            value = median(ours, lambda r: r["rate"] / _in_process(r))
            yield Goal(f"{engine}, {body}: of the engine in process", OF_ENGINE, value, True)


def start_table(records: Sequence[Record]) -> Iterator[list[str]]:
    yield ["server", "start to first right answer, s", "least", "most"]
    for server, found in by_server(records).items():
        seconds = [record["seconds"] for record in found]
        yield [server, *(f"{value:.2f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))]


def load_table(records: Sequence[Record]) -> Iterator[list[str]]:
    yield ["request", "server", "answers/s", "of echo", "p50 ms", "p99 ms", "errors", "CPU µs/answer", "others' CPUs"]
    for body in dict.fromkeys(record["body"] for record in records):
        servers = by_server([record for record in records if record["body"] == body])
        for server, found in servers.items():
            of_echo = f"{ratio(found, servers['echo'], 'rate'):.2f}" if "echo" in servers else ""
            computed = median(found, _cost)
            others = median(found, lambda r: r["other_cores"])
            rate = f"{median(found, lambda r: r['rate']):.0f}"
            yield [body, server, rate, of_echo, *_latency_and_errors(found), f"{computed:.0f}", f"{others:.2f}"]


def memory_table(records: Sequence[Record]) -> Iterator[list[str]]:
    yield ["server", "RSS loaded, MiB", "PSS loaded", "most RSS after requests", "most PSS"]
    for server, found in by_server(records).items():
        loaded = [median(found, lambda r, k=key: r[k]) for key in ("loaded_rss_mib", "loaded_pss_mib")]
        most = [max(record[key] for record in found) for key in ("rss_mib", "pss_mib")]
        yield [server, *(f"{value:.0f}" for value in loaded + most)]


def saturation_table(records: Sequence[Record]) -> Iterator[list[str]]:
    """With the processor time of an answer beside that of a call in process, and what the load took of the machine: the
    in-process rate had all of it."""
    yield [
        *("request", "server", "answers/s", "in process/s", "threads", "ratio", "CPU µs/answer", "in process, CPU µs"),
        *("ratio of CPU", "server's CPUs", "load's CPUs", "others' CPUs", "p50 ms", "p99 ms", "errors"),
    ]
    for body in dict.fromkeys(record["body"] for record in records):
        for server, found in by_server([record for record in records if record["body"] == body]).items():
            rates = [f"{median(found, rate):.0f}" for rate in (lambda r: r["rate"], _in_process)]
            threads = statistics.mode(_best_threads(record) for record in found)
            of_engine = f"{median(found, lambda r: r['rate'] / _in_process(r)):.2f}"
            costs = [f"{median(found, cost):.0f}" for cost in (_cost, _cost_in_process)]
            of_cost = f"{median(found, lambda r: _cost_in_process(r) / _cost(r)):.2f}"
            used = [
                f"{median(found, lambda r, k=key: r[k]):.2f}" for key in ("server_cores", "wrk_cores", "other_cores")
            ]
            yield [
                *(body, server, *rates, threads, of_engine, *costs, of_cost, *used),
                *_latency_and_errors(found),
            ]


def _latency_and_errors(records: Sequence[Record]) -> list[str]:
    errors = sum(record["errors"] + bool(record["wrong"]) for record in records)
    return [*(f"{median(records, lambda r, k=key: r[k]):.2f}" for key in ("p50_ms", "p99_ms")), str(errors)]


def _best_threads(record: Record) -> str:
    found: dict[str, dict[str, float]] = record["in_process"]
    return max(found, key=lambda number: found[number]["rate"])


def _in_process(record: Record) -> float:
    return float(record["in_process"][_best_threads(record)]["rate"])


def _cost_in_process(record: Record) -> float:
    return float(record["in_process"][_best_threads(record)]["cpu_us"])


def _cost(record: Record) -> float:
    """Processor time of the server for one answer, in microseconds."""
    return float(record["server_cores"] / record["rate"] * 1e6)


def goal_table(goals: Sequence[Goal]) -> Iterator[list[str]]:
    yield ["goal", "", "measured", ""]
    for goal in goals:
        limit = f"{'≥' if goal.at_least else '≤'} {goal.limit:g}"
        yield [goal.what, limit, f"{goal.value:.2f}", "met" if goal.met else "NOT MET"]


def markdown(rows: Iterator[list[str]]) -> str:
    """A table whose columns line up."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def _ours(servers: dict[str, list[Record]]) -> list[tuple[str, list[Record]]]:
    return [(engine, servers[f"lading-{engine}"]) for engine in ENGINES if f"lading-{engine}" in servers]


def _peers(servers: dict[str, list[Record]]) -> dict[str, list[Record]]:
    return {name: found for name, found in servers.items() if not name.startswith(("echo", "lading-"))}
