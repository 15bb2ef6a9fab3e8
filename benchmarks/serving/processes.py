"""What servers and others use of the machine, read from /proc (Linux)."""

import os
import platform
import re
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""One measurement, as it goes into the JSON file."""

MOST_OTHERS = 0.15
"""Processors that other programs may use while something is measured; beyond that it is measured again."""
TRIES = 4
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 2**20


def session(leader: int) -> list[int]:
    """The living processes of a session: a server started in one of its own, with all that it started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, _, sid = _stat(int(entry.name))[:4]
                if int(sid) == leader and state != "Z":
                    found.append(int(entry.name))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """What processes have computed so far, with those of their children that ended."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += sum(map(int, _stat(pid)[11:15]))  # utime, stime, cutime, cstime
    return total / TICKS


def memory_mib(pids: list[int]) -> tuple[float, float]:
    """Resident memory (RSS), and the same with shared pages counted by their share (PSS), in MiB."""
    sums = [0, 0]
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for index, name in enumerate(("Rss", "Pss")):
                sums[index] += int(re.findall(rf"^{name}:\s+(\d+) kB", text, re.M)[0])
    return sums[0] * 1024 / MIB, sums[1] * 1024 / MIB


def ended_cpu_seconds() -> float:
    """What the children of this process that ended had computed."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


class Others:
    """What everything else on the machine uses from now on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._machine = _machine_cpu_seconds()
        self._own = _own_cpu_seconds()

    def cores(self, known: float) -> float:
        """Processors that were used besides this process, its children that ended, and ``known`` seconds of others."""
        ours = _own_cpu_seconds() - self._own + known
        return max(0.0, (_machine_cpu_seconds() - self._machine - ours) / (time.perf_counter() - self._started))


def least_disturbed(measure: Callable[[], Record]) -> Record:
    """A measurement with little in ``other_cores``: the first of a few, else the one with the least."""
    records = []
    for _ in range(TRIES):
        records.append(measure())
        if records[-1]["other_cores"] <= MOST_OTHERS:
            break
    return min(records, key=lambda record: record["other_cores"])


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)
    return {
        "processor": cpu[1] if cpu else "unknown",
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "kernel": os.uname().release,
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
    }


def _own_cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + ended_cpu_seconds()


def _machine_cpu_seconds() -> float:
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second, the name, may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
