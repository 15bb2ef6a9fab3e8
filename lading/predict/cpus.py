"""How many processors this process may use, which in a container is not how many the machine has."""

import math
import os
from pathlib import Path, PurePosixPath


def available_cpus(*, root: Path = Path("/")) -> int:
    """The CPU quota of the control group, rounded up; without a quota the processors that this process may run on.

    Args:
        root: The root of the file system; ``/proc`` and ``/sys`` are read below it.

    Returns:
        At least 1.

    Source: the kernel's admin-guide, cgroup-v2 ``cpu.max`` and cgroup-v1 ``cpu.cfs_quota_us``.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for quota in _quotas(root) if quota > 0]
    return max(1, min([cpus, *(math.ceil(quota) for quota in quotas)]))


def _quotas(root: Path) -> list[float]:
    """The quotas of the process's groups and of all groups above them, in processors."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found += [_quota_v2(directory) for directory in _upwards(root / "sys/fs/cgroup", group)]
        elif "cpu" in controllers.split(","):
            for name in ("cpu", controllers):
                found += [_quota_v1(directory) for directory in _upwards(root / "sys/fs/cgroup" / name, group)]
    return found


def _upwards(base: Path, group: str) -> list[Path]:
    """The group's directory and those above it; only ``base`` where a container sees its group as the root."""
    relative = PurePosixPath(group.lstrip("/"))
    return [base / part for part in (relative, *relative.parents)] if relative.parts else [base]


def _quota_v2(directory: Path) -> float:
    try:
        quota, period = (directory / "cpu.max").read_text().split()
        return 0.0 if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return 0.0


def _quota_v1(directory: Path) -> float:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        return max(0, quota) / int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return 0.0
