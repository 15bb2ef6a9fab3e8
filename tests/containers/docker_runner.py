"""Runs a compiled pipeline through kfp.local's DockerRunner: ``docker_runner.py PIPELINE ROOT STATE NAME=VALUE…``.

``STATE`` is mounted where it is, so that a step finds the local target, its image store, and what else lies there. The
exit code is 0, or 1 when the pipeline failed.
"""

import os
import sys
from typing import Any

import docker
from kfp import components, local
from kfp.local import docker_task_handler


def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **options: Any) -> int:
    """In the place of KFP's own, which loses exit codes: it asks for them after the container was removed.

    https://github.com/kubeflow/pipelines/issues/13332
    """
    options.pop("auto_remove", None)
    container = client.containers.run(image=image, command=command, detach=True, volumes=volumes, **options)
    try:
        for line in container.logs(stream=True):
            print(line.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def main() -> int:
    pipeline, root, state, *words = sys.argv[1:]
    docker_task_handler.run_docker_container = run_container
    runner = local.DockerRunner(
        network_mode="host",  # the local target listens on loopback
        user=f"{os.getuid()}:{os.getgid()}",  # KFP mounts the pipeline root as it is
        environment={"XDG_STATE_HOME": state, "HOME": "/tmp"},
        mounts=[docker.types.Mount(state, state, type="bind")],  # `volumes` is KFP's own
    )
    local.init(runner, pipeline_root=root)
    try:
        components.load_component_from_file(pipeline)(**dict(word.split("=", 1) for word in words))
    except RuntimeError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
