"""A tiny pipeline, really compiled, that ends well, badly or late, as its parameters say."""

import subprocess
import sys
from pathlib import Path

import pytest

from lading.spec.ir import Pipeline

SOURCE = """
import sys
from kfp import compiler, dsl

@dsl.component(base_image="python:3.12", install_kfp_package=False)
def prepare(words: str, factor: float) -> str:
    print("preparing", words, factor)
    return words * int(factor)

@dsl.component(base_image="python:3.12", install_kfp_package=False)
def work(words: str, seconds: int, fail: bool):
    import time
    print("working on", words, flush=True)
    time.sleep(seconds)
    if fail:
        raise ValueError(f"cannot work on {words}")

@dsl.component(base_image="python:3.12", install_kfp_package=False)
def polish(words: str):
    print("polishing", words)

@dsl.pipeline(name="tiny")
def tiny(words: str, factor: float = 2.0, seconds: int = 0, fail: bool = False):
    prepared = prepare(words=words, factor=factor)
    worked = work(words=prepared.output, seconds=seconds, fail=fail)
    with dsl.If(prepared.output == "again and again", name="often"):
        polish(words=words).after(worked)

compiler.Compiler().compile(tiny, sys.argv[1])
"""


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.py").write_text(SOURCE)
    subprocess.run([sys.executable, folder / "tiny.py", folder / "tiny.yaml"], check=True, timeout=60)
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Pipeline:
    return Pipeline.load(tiny_file)
