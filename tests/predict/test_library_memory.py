"""What the start needed and nothing else leaves memory."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from lading.predict.memory import _areas


def test_a_librarys_clean_areas_are_found_and_its_own_pages_left_alone() -> None:
    smaps = """\
1000-3000 r--p 00000000 fe:00 1 /x/libtensorflow_cc.so.2
Size:                  8 kB
Anonymous:             0 kB
3000-4000 r--p 00002000 fe:00 1 /x/libtensorflow_cc.so.2
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 1 /x/libtensorflow_cc.so.2
Anonymous:             0 kB
8000-9000 r--p 00004000 fe:00 1 /x/libtensorflow_cc.so.2
Anonymous:             0 kB
Swap:                  4 kB
5000-6000 r-xp 00000000 fe:00 2 /x/libother.so
Anonymous:             0 kB
7000-8000 rw-p 00000000 00:00 0
Anonymous:             0 kB
"""
    assert _areas(smaps, "libtensorflow") == [(0x1000, 0x2000)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_computes_the_same_after_its_library_left_memory(mlp_model: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from lading.predict import load_model\n"
        "from lading.predict.memory import unmap_library_pages\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "model = load_model(sys.argv[1]); x = {'image': np.ones((2, 28, 28), np.float32)}\n"
        "before, held = model.predict(x)['softmax'], resident()\n"
        "assert unmap_library_pages() > 100 << 20\n"
        "assert (model.predict(x)['softmax'] == before).all()\n"
        "assert resident() < held - (100 << 20), (held, resident())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, mlp_model], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_memory_that_was_freed_is_used_again_without_the_system() -> None:
    code = """
import resource
from lading.predict.memory import reuse_freed_memory
def faults(rounds=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        held = [bytearray(3 << 20) for _ in range(3)]
        del held
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // rounds
default = faults()
assert reuse_freed_memory()
faults()
print(default, faults())
"""
    default, reused = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert reused < default / 20
