"""What a server does about its memory: gives back what only the start needed, and keeps what it needs again."""

import ctypes
import re
import sys
from pathlib import Path

_MADV_DONTNEED = 4  # linux: include/uapi/asm-generic/mman-common.h
_OWN = ("Anonymous:", "Swap:")
"""Pages of this process's own, in memory or on a disk."""
_AREA = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc: malloc/malloc.h
_KEPT_BYTES = 12 << 20
_MAPPED_BYTES = 8 << 20
_ARENAS = 4
"""By default each of up to eight threads a processor gets one of its own, and keeps as much."""


def reuse_freed_memory() -> bool:
    """Let malloc keep what is freed, up to 12 MiB of each of its arenas, and take less than 8 MiB from there.

    By default it maps and unmaps memory of its own for each body and each array of 128 KiB and more, or gives the end
    of its heap back at once: with long requests the system then clears the same pages for every one of them.

    Returns:
        Whether there was something to set: C libraries other than glibc have no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = ((_TRIM_THRESHOLD, _KEPT_BYTES), (_MMAP_THRESHOLD, _MAPPED_BYTES), (_ARENA_MAX, _ARENAS))
    return all(mallopt(name, value) for name, value in settings)


def unmap_library_pages(name: str = "libtensorflow") -> int:
    """Take the pages of a library out of this process's memory that it can read again from its file.

    Loading TensorFlow's C library reads most of its symbols and static initialisers, hundreds of megabytes that stay
    resident and that nothing needs again. What is needed is mapped again, from the page cache, when it is touched.

    Args:
        name: Part of the file names of the libraries.

    Returns:
        Bytes of the areas that were let go; 0 where the system is not Linux, or does not show its areas.
    """
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        smaps = Path("/proc/self/smaps").read_text()
    except OSError:  # a sandbox without /proc: the pages stay
        return 0
    freed = 0
    for start, size in _areas(smaps, name):
        if libc.madvise(start, size, _MADV_DONTNEED) == 0:
            freed += size
    return freed


def _areas(smaps: str, name: str) -> list[tuple[int, int]]:
    """Start and size of a library's areas that are as in the file.

    An area with pages of this process's own (relocated addresses, which the loader then protects from writing) would
    lose them.
    """
    found: dict[int, int] = {}
    start = 0
    for line in smaps.splitlines():
        area = _AREA.fullmatch(line)
        if area:
            start = int(area[1], 16)
            if name in area[4] and "w" not in area[3]:
                found[start] = int(area[2], 16) - start
        elif line.startswith(_OWN) and int(line.split()[1]):
            found.pop(start, None)
    return list(found.items())
