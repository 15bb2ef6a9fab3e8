"""A tiny pipeline that ends well, badly or late, as its parameters say.

``python tiny_pipeline.py OUT.yaml [install]`` compiles it; with ``install`` its steps install kfp when they start, as
steps without an image of their own do on a real cluster.
"""

import sys

from kfp import compiler, dsl

C = {"base_image": "python:3.12", "install_kfp_package": "install" in sys.argv}


@dsl.component(**C)
def prepare(words: str, factor: float) -> str:
    print("preparing", words, factor)
    return words * int(factor)


@dsl.component(**C)
def work(words: str, seconds: int, fail: bool):
    import time

    print("working on", words, flush=True)
    time.sleep(seconds)
    if fail:
        raise ValueError(f"cannot work on {words}")


@dsl.component(**C)
def polish(words: str):
    print("polishing", words)


@dsl.pipeline(name="tiny")
def tiny(words: str, factor: float = 2.0, seconds: int = 0, fail: bool = False):
    prepared = prepare(words=words, factor=factor)
    worked = work(words=prepared.output, seconds=seconds, fail=fail)
    with dsl.If(prepared.output == "again and again", name="often"):
        polish(words=words).after(worked)


if __name__ == "__main__":
    compiler.Compiler().compile(tiny, sys.argv[1])
