"""Turn a SavedModel into a serving image, without Docker: base + model layer + configuration."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

from lading.errors import InvalidInput, InvalidReference
from lading.model_files import ModelFiles, model_files
from lading.oci.ahead import Ahead, look_ahead
from lading.oci.assemble import Base, assemble, publish, read_base
from lading.oci.connect import LOCAL_HOST, Place, open_place
from lading.oci.copy import Progress
from lading.oci.platform import Platform
from lading.results import PackagedImage, ScanReport
from lading.runtimes import HOST, PlannedModel, check_base, contents_of, find_runtime, plan_model
from lading.scanning.compare import check_scanned
from lading.values import ImageRef
from lading.wait import Deadline

HOST_BASE = HOST
"""The empty base: the image runs on the Python of the machine that unpacks it, which only the local target does."""
SECONDS = 600.0
"""How long packaging may take when nothing else is said; most of it is the way of the model to a registry."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def package_image(
    model: str | Path,
    to: str,
    *,
    environ: Mapping[str, str],
    base: str = HOST_BASE,
    platform: str = "",
    runtime: str = "",
    name: str = "",
    compression: str = "stored",
    scanned: ScanReport | None = None,
    deadline: Deadline | None = None,
    progress: Progress | None = None,
) -> PackagedImage:
    """Assemble an image that serves a model, and bring it to its place.

    The model lies at ``models/NAME/VERSION`` in the image. The same model, base and options give the same digest,
    wherever, whenever and by whomever it is packaged.

    Args:
        model: A SavedModel, or a base of versions of which the highest is taken: a path or ``gs://``.
        to: Where the image goes: ``HOST/NAME[:TAG]``, ``oci:DIR[:TAG]``, ``archive:FILE``, or ``lading.local/NAME``,
            the image store of this machine.
        environ: Where this user's state and credentials are looked up.
        base: The image below the model, in the words of ``to``, by tag or digest; or ``host``.
        platform: Of the base, where it is an index: ``linux/arm64``. Empty: this machine's.
        runtime: ``lading`` or ``tf-serving``: which server the base has. Empty: ``lading``.
        name: By which clients ask for the model. Empty: the last part of ``to``.
        compression: ``stored``, ``gzip`` or ``none``, of the model's layer.
        scanned: What ``lading scan`` said of this very model. None: it is not compared.
        deadline: For all of it. None: ``SECONDS`` from now.
        progress: Is told how the transfer goes.

    Raises:
        InvalidModel: there is no SavedModel; or it is not converted for the engine of the base; or a file of it is not
            what it was when it was scanned.
        InvalidReference: the destination or the base is not one that can be used; the message says which can.
        InvalidInput: a runtime, platform, name or compression that does not exist; or the scan rejected the model.
        NotFound: the base does not exist, or not for the platform.
        AccessDenied, QuotaExceeded, RemoteError: a registry refuses.
        ServiceUnreachable, DeadlineExceeded: a registry does not answer, or not in time.
        StorageError: the disk is full, or a file changed meanwhile; no image was made.
    """
    deadline = deadline or Deadline.after(SECONDS)
    runtime = find_runtime(runtime, base)
    wanted = Platform.parse(platform) if platform else None
    name = _model_name(name or _last_part(to))
    place = _host_place(to, environ) if runtime == HOST else open_place(to, environ=environ, writable=True)
    with model_files(model) as files:
        find = partial(
            _find_base, base, place, files, runtime=runtime, platform=wanted, environ=environ, deadline=deadline
        )
        planned, below, ahead = _plan_meanwhile(files, name, compression, find)
        if scanned:
            check_scanned(scanned, planned.files, str(model))
        contents = contents_of(planned, below, runtime=runtime)
        assembled = assemble(below, contents.layers, contents.changes, made_by="lading package")
        moved = publish(assembled, place.store, tag=place.tag, ahead=ahead, deadline=deadline, progress=progress)
    return PackagedImage(
        image=str(ImageRef(place.store.repository, assembled.manifest.digest)),
        model_diff_id=planned.layer.diff_id,
        model_bytes=planned.layer.descriptor.size,
        base=below.reference if below else "",
        runtime=runtime,
        sent_bytes=moved.sent,
    )


def _find_base(
    base: str,
    place: Place,
    files: ModelFiles,
    *,
    runtime: str,
    platform: Platform | None,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> tuple[Base | None, Ahead]:
    """The image below the model, and what its destination has already."""
    if runtime == HOST:
        return None, Ahead()
    origin = open_place(base, environ=environ)
    found = read_base(origin.store, origin.wanted, platform=platform, deadline=deadline)
    check_base(found, runtime, files)
    layers = found.image.layers
    return found, look_ahead(place.store, place.tag, origin=found.store, layers=layers, deadline=deadline)


def _plan_meanwhile(
    files: ModelFiles, name: str, compression: str, find: Callable[[], tuple[Base | None, Ahead]]
) -> tuple[PlannedModel, Base | None, Ahead]:
    """Hash the model while registries are asked; what they refuse is told before the whole model was read."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(find)
        planned = plan_model(files, name, compression=compression, check=lambda: found.done() and found.result())
        return planned, *found.result()


def _host_place(to: str, environ: Mapping[str, str]) -> Place:
    """The place of an image that runs on this machine's Python."""
    name = to.removeprefix(f"{LOCAL_HOST}/")
    if name == to or not _NAME.fullmatch(name.partition(":")[0]):
        raise InvalidReference(
            f"expected a repository such as {LOCAL_HOST}/taxi (letters, digits, '-', '_', '.'), received {to!r}: an "
            f"image on the base {HOST_BASE!r} runs on the local target only, for other places give --base"
        )
    return open_place(to, environ=environ, writable=True)


def _last_part(to: str) -> str:
    """What a destination is called: the last part of its path, without tag and suffix."""
    kind, colon, path = to.partition(":")
    if colon and kind in ("oci", "archive"):
        last = PurePosixPath(path).name
        return last.partition(":")[0] if kind == "oci" else last.removesuffix(".tar")
    return to.rpartition("/")[2].partition(":")[0]


def _model_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"expected a name for the model (letters, digits, '-', '_', '.'), received {name!r}: give one with --name"
        )
    return name
