"""What runs containers here: bwrap, runc or docker, whichever works, all with the same walls.

The file system of the image is read-only beside ``/tmp``; the process is no root, gains no rights and has no
capabilities; it sees its own processes only, and the network of this machine, since it has to listen on a port of
loopback. Sources: bwrap(1); OCI runtime specification 1.0, ``config.md``; docker-run(1).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.errors import InvalidInput, RevisionFailed
from lading.files import write_atomic
from lading.local.state import Layout

_PROBE_SECONDS = 30
_IMPORT_SECONDS = 600


@dataclass(frozen=True)
class Container:
    """What is to run."""

    id: str
    """The revision's: one container at a time has it."""
    root: Path
    """The unpacked image."""
    command: tuple[str, ...]
    directory: str
    """Where it starts, inside."""
    user: int
    group: int
    env: Mapping[str, str]


@dataclass(frozen=True)
class Launch:
    """How this machine starts something."""

    command: tuple[str, ...]
    directory: Path
    env: Mapping[str, str]
    cleanup: tuple[str, ...] = ()
    """Run after the process has ended, however it did."""


@dataclass(frozen=True)
class Engine:
    """A program that runs containers."""

    works: Callable[[], bool]
    launch: Callable[[Layout, Container, Mapping[str, str]], Launch]


def choose(layout: Layout) -> Engine:
    """The engine that was asked for, else the first that works.

    Raises:
        RevisionFailed: none does.
    """
    wanted = asked_for(layout)
    for name in (wanted,) if wanted else tuple(_ENGINES):
        if _ENGINES[name].works():
            return _ENGINES[name]
    raise RevisionFailed(
        f"a container image needs {wanted or 'bwrap, runc or docker'}, which is not installed or may not be used here: "
        "install bubblewrap, choose another (`lading local start --engine NAME`), deploy to a cluster, or package the "
        "model with the host runtime"
    )


def ask_for(layout: Layout, name: str) -> None:
    """Use this engine for what is started from now on.

    Raises:
        InvalidInput: there is none of this name.
        StorageError: the choice cannot be stored.
    """
    if name not in ("auto", *_ENGINES):
        raise InvalidInput(f"expected the engine auto, {', '.join(_ENGINES)}, received {name!r}")
    write_atomic(layout.engine, name)


def asked_for(layout: Layout) -> str:
    """The engine that was asked for; empty when any will do."""
    name = layout.engine.read_text().strip() if layout.engine.exists() else "auto"
    return name if name in _ENGINES else ""


def drop_images(layout: Layout, used: frozenset[str]) -> None:
    """Remove what docker was given of images that are no longer unpacked; ``used`` has the names of those that are."""
    for mark in layout.docker_images.glob("*"):
        if mark.name not in used:
            _quietly("docker", "image", "rm", "--force", _docker_name(mark.name))
            mark.unlink()


def _bwrap(layout: Layout, container: Container, environ: Mapping[str, str]) -> Launch:
    command = (
        *(_path("bwrap"), "--ro-bind", str(container.root), "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"),
        *("--ro-bind-try", "/etc/hosts", "/etc/hosts", "--unshare-all", "--share-net", "--cap-drop", "ALL"),
        *("--uid", str(container.user), "--gid", str(container.group), "--chdir", container.directory, "--"),
    )
    # The environment of bwrap is that of the container: on the command line, everybody could read it.
    return Launch((*command, *container.command), layout.root, container.env)


def _bwrap_works() -> bool:
    return _quietly("bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-all", "--share-net", "true")


def _runc(layout: Layout, container: Container, environ: Mapping[str, str]) -> Launch:
    bundle = layout.root / "bundles" / container.id
    write_atomic(bundle / "config.json", json.dumps(_runc_config(container)), mode=0o600)
    runc = (_path("runc"), "--root", str(layout.root / "runc"))
    cleanup = (*runc, "delete", "--force", container.id)
    _quietly(*cleanup)  # of a container whose runc was killed
    return Launch((*runc, "run", "--bundle", str(bundle), container.id), layout.root, dict(environ), cleanup)


def _runc_config(container: Container) -> dict[str, Any]:
    user, group = container.user, container.group
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    rootless: dict[str, Any] = {}
    if os.geteuid() != 0:
        namespaces.append({"type": "user"})
        rootless = {
            "uidMappings": [{"containerID": user, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": group, "hostID": os.getegid(), "size": 1}],
        }
    safe = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": user, "gid": group},
            "args": list(container.command),
            "env": [f"{name}={value}" for name, value in container.env.items()],
            "cwd": container.directory,
            "noNewPrivileges": True,
        },
        "root": {"path": str(container.root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*safe, "mode=1777"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
            *(
                {"destination": path, "type": "bind", "source": path, "options": ["bind", "ro"]}
                for path in ("/etc/resolv.conf", "/etc/hosts")
                if Path(path).exists()
            ),
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/sys", "/proc/irq", "/proc/bus"],
            **rootless,
        },
    }


def _docker(layout: Layout, container: Container, environ: Mapping[str, str]) -> Launch:
    name, image = f"lading-{container.id}", _docker_name(container.root.name)
    _import(layout, container.root, image)
    docker = _path("docker")
    cleanup = (docker, "rm", "--force", name)
    _quietly(*cleanup)  # of a container whose client was killed
    command = (
        *(docker, "run", "--rm", "--init", "--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pull", "never"),
        *("--user", f"{container.user}:{container.group}", "--workdir", container.directory),
        *(word for variable in container.env for word in ("--env", variable)),  # values: from docker's environment
        *("--entrypoint", container.command[0], image, *container.command[1:]),
    )
    own = {name: value for name, value in environ.items() if name == "HOME" or name.startswith("DOCKER_")}
    return Launch(command, layout.root, {**container.env, **own}, cleanup)


def _import(layout: Layout, root: Path, image: str) -> None:
    """Give docker the unpacked image, unless it has it."""
    if _quietly("docker", "image", "inspect", image):
        return
    write_atomic(layout.docker_images / root.name, "")
    packed = ["tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--directory", str(root), "."]
    with subprocess.Popen(packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
        done = subprocess.run(
            [_path("docker"), "import", "-", image],
            stdin=tar.stdout,
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    if done.returncode or tar.returncode:
        raise RevisionFailed(f"docker does not take the image: {done.stderr.strip() or 'it cannot be read'}")


def _docker_name(digest: str) -> str:
    return f"lading-local:{digest}"


def _path(program: str) -> str:
    return shutil.which(program) or program


def _quietly(*command: str) -> bool:
    """Run a command whose output nobody needs; whether it succeeded."""
    if not shutil.which(command[0]):
        return False
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


_ENGINES: Mapping[str, Engine] = {
    "bwrap": Engine(_bwrap_works, _bwrap),
    "runc": Engine(lambda: _quietly("runc", "--version"), _runc),
    "docker": Engine(lambda: _quietly("docker", "version"), _docker),
}
