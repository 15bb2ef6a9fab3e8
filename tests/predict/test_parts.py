"""The small parts under the engine: the compiled protocol buffers, and how many processors there are."""

import importlib
from pathlib import Path

import pytest

from lading.predict.compile_protos import TARGET, generate, installed_version
from lading.predict.cpus import available_cpus


def test_the_compiled_protocol_buffers_are_what_tensorflow_ships() -> None:
    compiled = importlib.import_module("lading.predict.compiled.tensorflow_descriptors")
    installed = installed_version()
    if installed != compiled.TENSORFLOW_VERSION:
        pytest.skip(f"compiled from TensorFlow {compiled.TENSORFLOW_VERSION}, {installed} is installed")
    assert TARGET.read_text() == generate(), "stale: run `python -m lading.predict.compile_protos`"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        (
            "4:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("4:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_quota_of_the_control_group_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup + "\n")
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_cpus(root=tmp_path) == (expected or available_cpus(root=tmp_path / "nothing"))
