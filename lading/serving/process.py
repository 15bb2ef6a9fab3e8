"""What this process uses, under the names that every Prometheus client gives it; and what it may use.

Source: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
"""

import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def process_metrics() -> Iterator[tuple[str, str, float]]:
    """Name, meaning and value of each; those that need ``/proc`` only where there is one."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield "process_cpu_seconds_total", "User and system CPU time in seconds.", used.ru_utime + used.ru_stime
    yield "process_max_fds", "Most file descriptors that may be open.", _limit()
    if sys.platform != "linux":
        return
    yield "process_open_fds", "File descriptors that are open.", _open_files()
    # The name of the program, in parentheses, may hold spaces: fields are counted from behind it (proc(5)).
    fields = (_PROC / "self" / "stat").read_text().rpartition(")")[2].split()
    yield "process_start_time_seconds", "When the process started, in seconds since 1970.", _start(int(fields[19]))
    yield "process_virtual_memory_bytes", "Virtual memory size in bytes.", int(fields[20])
    yield "process_resident_memory_bytes", "Resident memory size in bytes.", int(fields[21]) * resource.getpagesize()


def allow_open_files(wanted: int) -> int:
    """Raise how many files this process may have open to ``wanted``, or as far as it may; says how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (wanted if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return min(soft, wanted)


def _start(ticks: int) -> float:
    """The time of a tick since boot."""
    up = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + up


def _open_files() -> int:
    """How many, without the one that lists them."""
    return sum(1 for _ in (_PROC / "self" / "fd").iterdir()) - 1


def _limit() -> float:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if most == resource.RLIM_INFINITY else most
