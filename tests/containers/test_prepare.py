"""What `containers/serving/prepare.py` does to libraries: less, and compiled, and the same wherever it is done."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import csimdjson
import httptools
import pytest

from containers.serving import prepare

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def write(root: Path, *names: str, content: str = "VALUE = {'b', 'a', 'c'}\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, prepare.__file__, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_what_no_server_loads_goes(tmp_path: Path) -> None:
    kept = {"numpy/__init__.py", "numpy/linalg/linalg.py", "ai_edge_litert/interpreter.py",
            "ai_edge_litert/libLiteRt.so", "tensorflow/libtensorflow_cc.so.2", "tensorflow/THIRD_PARTY_NOTICES.txt",
            "tensorflow/libtensorflow_framework.so.2", "numpy-1.dist-info/METADATA",
            "pyarrow/libarrow.so.2600", "pyarrow/libarrow_python.so.2600", "pyarrow/lib.cpython-311.so"}  # fmt: skip
    gone = {"bin/f2py", "numpy/f2py/f2py2e.py", "numpy/linalg/tests/test_linalg.py", "numpy/__init__.pyi",
            "ai_edge_litert/vendors/qualcomm/x.so", "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
            "tensorflow/python/pywrap.so", "tensorflow/__init__.py", "numpy/_core/lib/libnpymath.a",
            "pyarrow/libarrow_flight.so.2600", "pyarrow/_s3fs.cpython-311.so", "pyarrow/libarrow_python.so",
            "pyarrow/libarrow_python.so.2600.1.0", "pyarrow/types.pxi"}  # fmt: skip
    write(tmp_path, *kept, *gone)
    prepare.trim(tmp_path)
    assert files(tmp_path) == kept


def test_what_no_step_loads_goes(tmp_path: Path) -> None:
    kept = {"google/cloud/aiplatform_v1/services/job_service/client.py", "tensorflow/python/pywrap.so",
            "tensorflow/__init__.py", "numpy/testing/__init__.py", "kfp/dsl/executor_main.py"}  # fmt: skip
    gone = {"bin/kfp", "google/cloud/aiplatform/models.py", "google/cloud/aiplatform_v1beta1/types/job.py",
            "vertexai/__init__.py", "agentplatform/__init__.py", "tensorflow/include/eigen.h", "clang/native/x.so",
            "numpy/__init__.pyi"}  # fmt: skip
    write(tmp_path, *kept, *gone, content="")
    done = run("step-libraries", tmp_path)
    assert not done.returncode, done.stderr
    assert {name for name in files(tmp_path) if not name.endswith(".pyc")} == kept
    assert sum(name.endswith(".pyc") for name in files(tmp_path)) == 4


def test_a_library_without_symbols_is_smaller_and_loads(tmp_path: Path) -> None:
    """Of httptools, whose wheel has debugging information."""
    (origin,) = (Path(httptools.__file__).parent / "parser").glob("parser.*.so")
    stripped = tmp_path / origin.name
    stripped.write_bytes(origin.read_bytes())
    prepare.strip(stripped)
    assert stripped.stat().st_size < origin.stat().st_size
    prepare.strip(stripped)  # what is stripped already stays as it is
    program = f"""if True:
        import importlib.util
        spec = importlib.util.spec_from_file_location("httptools.parser.parser", {str(stripped)!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        seen = []
        class Protocol:
            def on_header(self, name, value):
                seen.append((name, value))
        module.HttpRequestParser(Protocol()).feed_data(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert seen == [(b"Host", b"a")], seen
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def searched(library: Path) -> int:
    """How many relocations the loader searches a name for when it loads a library and calls its functions."""
    program = f"""if True:
        import importlib.util
        spec = importlib.util.spec_from_file_location("csimdjson", {str(library)!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parser = module.Parser()
        assert parser.parse(b'{{"a": [1.5, "b"]}}').as_dict() == {{"a": [1.5, "b"]}}
        try:
            parser.parse(b"{{")
        except ValueError:
            pass
        else:
            raise AssertionError("an exception of C++ did not arrive")
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"LD_DEBUG": "statistics"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return int(re.findall(r"final number of relocations: (\d+)", done.stderr)[-1])


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="only such libraries are bound")
def test_a_bound_library_finds_its_own_names_without_a_search(tmp_path: Path) -> None:
    """Of pysimdjson, which is C++: it parses, and its exceptions arrive."""
    origin = Path(csimdjson.__file__)
    bound = tmp_path / origin.name
    bound.write_bytes(origin.read_bytes())
    prepare.bind(bound)
    once = bound.read_bytes()
    assert len(once) == origin.stat().st_size
    assert searched(bound) < searched(origin) - 100
    prepare.strip(bound)
    assert searched(bound) < searched(origin) - 100
    bound.write_bytes(once)
    prepare.bind(bound)  # what is bound already stays as it is
    assert bound.read_bytes() == once


def test_tensorflows_libraries_are_bound(tmp_path: Path) -> None:
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        (tmp_path / "tensorflow").mkdir(exist_ok=True)
        (tmp_path / "tensorflow" / name).write_bytes(Path(csimdjson.__file__).read_bytes())
    prepare.prepare_libraries(tmp_path)
    expected = tmp_path / "expected.so"
    expected.write_bytes(Path(csimdjson.__file__).read_bytes())
    prepare.bind(expected)
    prepare.strip(expected)
    for path in (tmp_path / "tensorflow").iterdir():
        assert path.read_bytes() == expected.read_bytes()


def test_what_is_not_a_library_is_left_alone(tmp_path: Path) -> None:
    script = tmp_path / "libc.so"
    script.write_text("/* GNU ld script */")
    prepare.strip(script)
    prepare.bind(script)
    assert script.read_text() == "/* GNU ld script */"


def test_bytecode_is_the_same_wherever_it_is_made_and_shows_places_in_the_image(tmp_path: Path) -> None:
    made = []
    for name in ("here", "there/deeper"):
        write(tmp_path / name, "package/__init__.py", "package/module.py")
        assert not run("libraries", tmp_path / name).returncode
        made.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.pyc")})
    assert made[0] == made[1]
    assert len(made[0]) == 2
    assert all(b"/opt/lading/lib/package/" in content for content in made[0].values())
    assert all(content[4] == 0b01 for content in made[0].values())  # unchecked-hash: PEP 552


def test_pythons_own_library_is_compiled_where_the_base_has_no_bytecode(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    library = f"usr/local/lib/{VERSION}"
    write(root, f"{library}/os.py", f"{library}/json/decoder.py", f"{library}/test/test_os.py",
          f"{library}/site-packages/pip/main.py")  # fmt: skip
    done = run("standard-library", root, out)
    assert not done.returncode, done.stderr
    tag = sys.implementation.cache_tag
    compiled = {f"{library}/__pycache__/os.{tag}.pyc", f"{library}/json/__pycache__/decoder.{tag}.pyc"}
    assert files(out) == compiled
    assert f"/{library}/os.py".encode() in (out / f"{library}/__pycache__/os.{tag}.pyc").read_bytes()

    write(root, f"{library}/__pycache__/os.{tag}.pyc", content="compiled by whoever made the base")
    assert not run("standard-library", root, tmp_path / "nothing").returncode
    assert files(tmp_path / "nothing") == set()


@pytest.mark.parametrize(("library", "said"), [("python3.9", "found python3.9"), ("ruby", "found none")])
def test_another_python_is_refused(tmp_path: Path, library: str, said: str) -> None:
    write(tmp_path / "root", f"usr/lib/{library}/os.py")
    done = run("standard-library", tmp_path / "root", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr
