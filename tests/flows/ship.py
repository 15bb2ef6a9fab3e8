"""A pipeline like ``release`` that takes a finished model instead of training one: it makes the tests of a run quick.

``python ship.py OUT.yaml`` compiles it. With ``alter`` the weights change after the golden answers were made: what a
smoke test is there to notice.
"""

import sys

from kfp import compiler, dsl

from components.deploy import deploy
from components.images import STEPS_TRAIN
from components.package import package
from components.promote import promote
from components.reject import reject
from components.settle import settle
from components.smoke import smoke
from pipelines.release import RELEASE_ID


@dsl.component(base_image=STEPS_TRAIN, install_kfp_package=False)
def take(model: dsl.Output[dsl.Model], golden: dsl.Output[dsl.Artifact], source: str, alter: bool, mark: str):
    import shutil
    from pathlib import Path

    shutil.copytree(source, model.path)
    (Path(model.path) / "assets.extra" / "mark").write_text(mark)
    shutil.copy(Path(source) / "assets.extra/lading/golden.jsonl", golden.path)
    if alter:
        import tensorflow as tf

        prefix = f"{model.path}/variables/variables"
        reader = tf.train.load_checkpoint(prefix)
        dtypes = reader.get_variable_to_dtype_map()
        names = sorted(dtypes)
        tensors = [reader.get_tensor(name) for name in names]
        tensors = [t * 1.5 if dtypes[n] == tf.float32 else t for n, t in zip(names, tensors, strict=True)]
        tensors = [tf.convert_to_tensor(t, dtypes[n]) for n, t in zip(names, tensors, strict=True)]
        tf.raw_ops.SaveV2(
            prefix=f"{prefix}-new", tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[f"{prefix}-new"], destination_prefix=prefix)


@dsl.pipeline(name="ship")
def ship(
    source: str,
    alter: bool = False,
    mark: str = "",
    service: str = "shop",
    repository: str = "lading.local/shop",
    target: str = "local:",
    settings: str = "{}",
):
    undo = settle(service=service, target=target, release_id=RELEASE_ID).set_caching_options(False)
    with dsl.ExitHandler(undo, name="settle-at-exit"):
        taken = take(source=source, alter=alter, mark=mark)
        packaged = package(model=taken.outputs["model"], repository=repository)
        deployed = deploy(
            image=packaged.outputs["image"],
            model_diff_id=packaged.outputs["model_diff_id"],
            service=service,
            target=target,
            settings=settings,
            release_id=RELEASE_ID,
        )
        smoked = smoke(candidate=deployed.outputs["candidate"], golden=taken.outputs["golden"])
        with dsl.If(smoked.outputs["passed"] == True, name="answers-rightly"):  # noqa: E712
            promote(candidate=deployed.outputs["candidate"], report=smoked.outputs["report"])
        with dsl.Else(name="answers-wrongly"):
            reject(report=smoked.outputs["report"])


if __name__ == "__main__":
    compiler.Compiler().compile(ship, sys.argv[1])
