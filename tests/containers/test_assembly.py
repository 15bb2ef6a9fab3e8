"""Assembling without Docker: bases that are read, wheels for another processor. Whole images: test_serving_image.py."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from synthetic_base import write_base

from containers.assembly.libraries import LIBRARIES, install_libraries
from containers.assembly.python import interpreter, read_standard_library
from lading.errors import InvalidInput, InvalidReference, LadingError, NotFound
from lading.oci.assemble import read_base
from lading.oci.layout import Layout
from lading.wait import Deadline

ROOT = Path(__file__).parent.parent.parent


def library_of(folder: Path, *layers: dict[str, str]) -> tuple[str, set[str]]:
    write_base(folder / "layout", *layers)
    base = read_base(Layout(folder / "layout"), "", deadline=Deadline.after(20))
    (folder / "root").mkdir()
    version = read_standard_library(base, folder / "root", deadline=Deadline.after(20))
    return version, {str(p.relative_to(folder / "root")) for p in (folder / "root").rglob("*") if p.is_file()}


def test_pythons_library_is_read_from_the_layers_of_a_base(tmp_path: Path) -> None:
    lower = {"usr/local/lib/python3.12/os.py": "", "usr/local/lib/python3.12/json/old.py": "", "etc/passwd": "",
             "usr/local/lib/python3.12/gone/a.py": "", "usr/local/bin/python3.12": ""}  # fmt: skip
    upper = {"usr/local/lib/python3.12/json/.wh.old.py": "", "usr/local/lib/python3.12/json/new.py": "",
             "usr/local/lib/python3.12/.wh.gone": "", "usr/local/lib/python3.12/LICENSE.txt": ""}  # fmt: skip
    version, found = library_of(tmp_path, lower, upper)
    assert version == "3.12"
    assert found == {"usr/local/lib/python3.12/os.py", "usr/local/lib/python3.12/json/new.py"}


def test_whether_it_is_compiled_is_seen(tmp_path: Path) -> None:
    names = {"usr/lib/python3.11/os.py", "usr/lib/python3.11/__pycache__/os.cpython-311.pyc"}
    assert library_of(tmp_path, dict.fromkeys(names, "")) == ("3.11", names)


@pytest.mark.parametrize("names", [["usr/bin/perl"], ["usr/lib/python3.11/os.py", "usr/local/lib/python3.12/os.py"]])
def test_a_base_has_one_python(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(InvalidReference, match=r"expected one Python .*, found (none|3\.11, 3\.12)"):
        library_of(tmp_path, dict.fromkeys(names, ""))


def test_bytecode_needs_a_python_of_the_same_version() -> None:
    assert interpreter(f"{sys.version_info.major}.{sys.version_info.minor}") == sys.executable
    with pytest.raises(NotFound, match=r"Python 3\.4.*install it"):
        interpreter("3.4")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def wheel(folder: Path, platform: str) -> str:
    """Write a wheel with one module, and return its requirement."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("tiny.py", f"PLATFORM = {platform!r}\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tag = f"Tag: cp312-cp312-{platform}\n"
        archive.writestr("tiny-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n{tag}")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    (folder / f"tiny-1.0-cp312-cp312-{platform}.whl").write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return f"tiny==1.0 ; python_full_version >= '3.12' \\\n    --hash=sha256:{digest}\n"


def test_wheels_are_those_of_the_image_and_not_of_this_machine(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "manylinux_2_28_x86_64")
    lock = tmp_path / "lock"
    lock.write_text(wheel(wheels, "manylinux_2_28_aarch64"))
    install_libraries(lock, tmp_path, version="3.12", architecture="arm64")
    assert (tmp_path / LIBRARIES / "tiny.py").read_text() == "PLATFORM = 'manylinux_2_28_aarch64'\n"
    with pytest.raises(LadingError, match="tiny"):  # the hash is that of the other wheel
        install_libraries(lock, tmp_path, version="3.12", architecture="amd64")


def test_only_processors_with_wheels_are_taken(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="linux/amd64 or linux/arm64, found one for s390x"):
        install_libraries(tmp_path / "lock", tmp_path, version="3.12", architecture="s390x")


def assembly(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "containers.assembly", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


def test_what_cannot_be_is_told_in_a_sentence(tmp_path: Path) -> None:
    place = f"oci:{tmp_path}/layout"
    to = ("--to", f"oci:{tmp_path}/out")
    none = assembly("serving-litert", "--base", place, *to)
    assert (none.returncode, none.stdout, none.stderr.count("\n")) == (3, "", 1), none.stderr

    write_base(tmp_path / "layout", {"usr/lib/python3.11/os.py": ""}, architecture="arm64")
    tensorflow = assembly("serving-tensorflow", "--base", place, *to)
    assert (tensorflow.returncode, tensorflow.stdout) == (2, "")
    assert "expected a base for linux/amd64, found one for arm64: serving-tensorflow" in tensorflow.stderr
    other = assembly("serving-litert", "--base", place, *to, "--platform", "linux/amd64")
    assert "is for linux/arm64, not for linux/amd64" in other.stderr
    assert not (tmp_path / "out").exists()
