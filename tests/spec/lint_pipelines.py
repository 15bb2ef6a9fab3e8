"""Pipelines that each break one thing. ``python lint_pipelines.py compile DIR`` writes their YAML; ``… run DIR NAME…``
runs those through kfp.local and prints, as JSON, what became of each.
"""

import json
import logging
import re
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from kfp import compiler, components, dsl, local

C = {"base_image": "example.org/python:3.12", "install_kfp_package": False}


@dsl.component(**C)
def say(text: str) -> str:
    return text


@dsl.component(**C)
def write(out: dsl.Output[dsl.Dataset]):
    from pathlib import Path

    Path(out.path).write_text("x")


@dsl.component(**C)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    from pathlib import Path

    return Path(data.path).read_text()


@dsl.component(**C)
def maybe(text: Optional[str] = None) -> str:
    return str(text)


@dsl.component(**C)
def two_lists() -> NamedTuple("Outputs", [("items", list), ("rest", list)]):
    return ["a", "b"], []


@dsl.component(**C)
def counted() -> NamedTuple("Outputs", [("count", int), ("rest", int)]):
    return 1, 0


@dsl.component(base_image="example.org/python:3.12", packages_to_install=["six"])
def installs(text: str) -> str:
    return text


@dsl.component(base_image="python", install_kfp_package=False)
def floating(text: str) -> str:
    return text


@dsl.container_component
def echo(text: str):
    return dsl.ContainerSpec(image="example.org/alpine:3", command=["echo"], args=[text])


@dsl.pipeline(name="clean")
def clean(text: str = "a", number: int = 3):
    said = say(text=text)
    with dsl.If(said.output == "a", name="is-a"):
        say(text="b")


@dsl.pipeline(name="one-of-artifacts")
def one_of_artifacts(text: str = "a"):
    said = say(text=text)
    with dsl.If(said.output == "a"):
        first = write()
    with dsl.Else():
        second = write()
    read(data=dsl.OneOf(first.outputs["out"], second.outputs["out"]))


@dsl.pipeline(name="quoted-condition")
def quoted_condition(text: str = "it's"):
    said = say(text=text)
    with dsl.If(said.output == "it's"):
        say(text="equal")


@dsl.pipeline(name="named-condition")
def named_condition():
    lists = counted()
    with dsl.If(lists.outputs["count"] == 1):
        say(text="one")


@dsl.pipeline(name="named-loop")
def named_loop():
    lists = two_lists()
    with dsl.ParallelFor(items=lists.outputs["items"]) as item:
        say(text=item)


@dsl.pipeline(name="file-importer")
def file_importer():
    brought = dsl.importer(artifact_uri="file:///etc/hostname", artifact_class=dsl.Dataset)
    read(data=brought.output)


@dsl.pipeline(name="job-placeholder")
def job_placeholder():
    say(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)


@dsl.pipeline(name="google-placeholder")
def google_placeholder():
    say(text="{{$.pipeline_google_cloud_project_id}}")


@dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def workspace():
    say(text=dsl.WORKSPACE_PATH_PLACEHOLDER)


@dsl.pipeline(name="optional-parameter")
def optional_parameter(text: Optional[str] = None):
    maybe(text=text)


@dsl.pipeline(name="container")
def container(text: str = "a"):
    echo(text=text)


@dsl.pipeline(name="pip-install")
def pip_install(text: str = "a"):
    installs(text=text)


@dsl.pipeline(name="loose-image")
def loose_image(text: str = "a"):
    floating(text=text)


@dsl.pipeline(name="parallelism")
def parallelism():
    with dsl.ParallelFor(items=["a", "b"], parallelism=4) as item:
        say(text=item)


@dsl.pipeline(name="Name with spaces")
def odd_name(text: str = "a"):
    say(text=text)


@dsl.pipeline(name="artifact-input")
def artifact_input(data: dsl.Input[dsl.Dataset]):
    read(data=data)


@dsl.pipeline(name="requests-only")
def requests_only(text: str = "a"):
    say(text=text).set_memory_request("4G").set_cpu_request("2")


PIPELINES = {
    p.name: p for p in (
        clean, one_of_artifacts, quoted_condition, named_condition, named_loop, file_importer, job_placeholder,
        google_placeholder,
        workspace, optional_parameter, container, pip_install, loose_image, parallelism, odd_name, artifact_input,
        requests_only,
    )
}  # fmt: skip


class Warned(logging.Handler):
    """KFP tells of a condition that it cannot read in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.words = record.getMessage()


def run(file: Path, folder: Path) -> str:
    """What kfp.local makes of it: ``ok``, or the first line of what it says."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "runs"))
    warned = Warned()
    logging.getLogger().addHandler(warned)
    try:
        components.load_component_from_file(str(file))()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        logging.getLogger().removeHandler(warned)
    return warned.words if re.search("Condition|CEL", warned.words) else "ok"


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] == "compile":
        for name, pipeline in PIPELINES.items():
            compiler.Compiler().compile(pipeline, str(folder / f"{name}.yaml"))
    else:
        import builtins

        own = builtins.print  # kfp.local leaves another one behind
        results = {}
        out, sys.stdout = sys.stdout, sys.stderr
        for name in sys.argv[3:]:
            results[name] = run(folder / f"{name}.yaml", folder)
            builtins.print = own
        own(json.dumps(results), file=out)
