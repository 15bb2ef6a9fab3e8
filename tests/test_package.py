import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.registry import FakeRegistry
from fakes.storage_server import Storage
from tiny_bases import LADING, put_base, put_bytes, put_index, put_manifest, soon

from lading import model_files
from lading.errors import AccessDenied, InvalidInput, InvalidModel, InvalidReference, NotFound, StorageError
from lading.oci.assemble import Base, read_base
from lading.oci.connect import open_place
from lading.oci.image import CONFIG_TYPE, MANIFEST_TYPE
from lading.oci.layout import ImageStore
from lading.oci.platform import Platform
from lading.package import package_image
from lading.predict.conversion import FOLDER
from lading.results import PackagedImage
from lading.scan import scan_model
from lading.scanning.compare import read_report
from lading.values import ImageRef, ModelDigests, from_json, to_json

ROOT = Path(__file__).parent.parent
ENVIRON: dict[str, str] = {"HOME": "/nowhere"}
ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
NO_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    made = FakeRegistry()
    yield made
    made.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "data").write_bytes(b"weights" * 20_000)
    return tmp_path / "model"


def base_in(registry: FakeRegistry, name: str = "bases/serving", **options: Any) -> str:
    """A base in the registry, by digest."""
    place = open_place(f"{registry.host}/{name}", environ=ENVIRON, writable=True)
    digest = put_base(place.store, **options)
    registry.requests.clear()
    registry.uploaded.clear()
    return f"{registry.host}/{name}@{digest}"


def read(image: str) -> Base:
    place = open_place(image, environ=ENVIRON)
    return read_base(place.store, place.wanted, deadline=soon())


def unpacked(image: str, number: int, to: Path) -> Path:
    """The files of a layer; negative numbers count from the top."""
    base = read(image)
    blob = b"".join(base.store.blob(base.image.layers[number].digest, deadline=soon()))
    to.mkdir()
    (to / "layer").write_bytes(blob)
    with tarfile.open(to / "layer") as tar:
        tar.extractall(to / "root", filter="data")
    return to / "root"


def test_an_image_says_how_it_runs_and_which_model_is_inside(
    registry: FakeRegistry, model: Path, tmp_path: Path
) -> None:
    base = base_in(registry)
    made = package_image(model, f"{registry.host}/models/taxi:v1", base=base, environ=ENVIRON)
    image = read(made.image).image
    assert image.command == ("python3", "-m", "lading", "serve", "taxi=/models/taxi")
    assert image.env == {
        "PATH": "/usr/bin",
        "PYTHONPATH": "/opt/lading/lib",
        "LADING_MODEL_DIFF_ID": made.model_diff_id,
        "LADING_MODEL_DIGESTS": "/opt/lading/model/digests.json",
    }
    assert image.labels == {
        **LADING,
        "dev.lading.model.diff-id": made.model_diff_id,
        "dev.lading.model.path": "models/taxi/1",
        "org.opencontainers.image.base.digest": ImageRef.parse(base).digest,
    }
    assert image.config["config"]["User"] == "65532:65532"
    assert image.config["rootfs"]["diff_ids"][-1] == made.model_diff_id
    assert (made.base, made.runtime, made.model_bytes) == (base, "lading", image.layers[-1].size)
    assert registry.tags("models/taxi") == {"v1"}
    root = unpacked(made.image, -1, tmp_path / "top")
    assert (root / "models/taxi/1/variables/data").read_bytes() == b"weights" * 20_000


@pytest.mark.parametrize("host", [False, True])
def test_the_digests_of_the_models_files_lie_in_a_layer_of_their_own(
    registry: FakeRegistry, model: Path, tmp_path: Path, host: bool
) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path / "state")}
    to, base = ("lading.local/taxi", "host") if host else (f"oci:{tmp_path / 'taxi'}", base_in(registry))
    made = package_image(model, to, base=base, environ=environ)
    place = open_place(made.image, environ=environ)
    found = read_base(place.store, place.wanted, deadline=soon())
    blob = b"".join(found.store.blob(found.image.layers[-2].digest, deadline=soon()))
    (tmp_path / "layer").write_bytes(blob)
    with tarfile.open(tmp_path / "layer") as tar:
        names = [entry.name for entry in tar if entry.isfile()]
        assert names == ["opt/lading/model/digests.json"]
        content = tar.extractfile(names[0])
        assert content
        digests = from_json(content.read(), ModelDigests)
    # An image for this machine is unpacked somewhere, so that its paths are relative.
    assert digests.root == ("models/taxi/1" if host else "/models/taxi/1")
    assert found.image.env["LADING_MODEL_DIGESTS"] == ("" if host else "/") + names[0]
    for name, digest in digests.files.items():
        content_ = (model / name).read_bytes()
        assert (digest.size, digest.sha256) == (len(content_), hashlib.sha256(content_).hexdigest())
    assert list(digests.files) == ["saved_model.pb", "variables/data"]


def test_a_retrained_model_moves_itself_and_little_else(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry, "team/taxi")  # where images of the same repository are, nothing has to be asked for
    to = f"{registry.host}/team/taxi"
    first = package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    assert len(registry.uploaded) == 3  # model, its digests, configuration
    (model / "variables" / "data").write_bytes(b"retrained" * 20_000)
    registry.uploaded.clear()
    registry.requests.clear()
    second = package_image(model, f"{to}:v2", base=base, environ=ENVIRON)
    image = read(second.image).image
    assert {digest for _, digest in registry.uploaded} == {
        image.layers[-1].digest,
        image.layers[-2].digest,
        json.loads(registry.manifests["team/taxi", "v2"])["config"]["digest"],
    }
    assert [line for line in registry.requests if line.startswith("PUT") and "manifests" in line] == [
        "PUT /v2/team/taxi/manifests/v2"
    ]
    layers = [layer.digest for layer in read(first.image).image.layers[:2]]
    assert not [line for line in registry.requests if line.startswith("GET") and line.endswith(tuple(layers))]
    assert second.sent_bytes == sum(len(registry.blobs[digest]) for _, digest in registry.uploaded)


def test_the_same_model_again_moves_nothing(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    first = package_image(model, to, base=base, environ=ENVIRON)
    registry.uploaded.clear()
    again = package_image(model, to, base=base, environ=ENVIRON)
    assert (again.image, again.sent_bytes, registry.uploaded) == (first.image, 0, [])


def asked(registry: FakeRegistry) -> Counter[str]:
    """How often each kind of request came: ``HEAD blobs``."""
    kinds = (re.fullmatch(r"(\w+) /v2/.+?/(manifests|blobs/uploads|blobs)/.*", line) for line in registry.requests)
    return Counter(f"{found[1]} {found[2]}" for found in kinds if found)


def test_a_registry_is_asked_for_no_more_than_is_needed(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    (model / "variables" / "data").write_bytes(b"weights" * 20_000)
    read_ = {"GET manifests": 2, "GET blobs": 1}  # the base: manifest and configuration; what the tag names
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    # HEAD: two layers of the base, then mounted, and the model. POST and PUT: model, digests, configuration.
    sent = {"PUT blobs/uploads": 3, "PUT manifests": 1}
    assert asked(registry) == {**read_, "HEAD blobs": 3, "POST blobs/uploads": 2 + 3, **sent}
    registry.requests.clear()
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    assert asked(registry) == read_
    registry.requests.clear()
    (model / "variables" / "data").write_bytes(b"retrained" * 20_000)
    package_image(model, f"{to}:v1", base=base, environ=ENVIRON)  # the layers of the base are those of the last image
    assert asked(registry) == {**read_, "HEAD blobs": 1, "POST blobs/uploads": 3, **sent}
    registry.requests.clear()
    package_image(model, to, base=base, environ=ENVIRON)  # it is there, and no tag is to be moved
    assert asked(registry)["PUT manifests"] == sum(line.startswith("POST") for line in registry.requests) == 0


def test_an_image_that_is_there_gets_another_tag_and_nothing_else(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    first = package_image(model, f"{to}:v1", base=base, environ=ENVIRON)
    registry.requests.clear()
    again = package_image(model, f"{to}:v2", base=base, environ=ENVIRON)
    assert (again.image, again.sent_bytes) == (first.image, 0)
    assert [line for line in registry.requests if line.startswith(("PUT", "POST"))] == [
        "PUT /v2/models/taxi/manifests/v2"
    ]


def test_a_tag_of_something_else_is_no_hindrance(registry: FakeRegistry, model: Path) -> None:
    registry.put("models/taxi", "v1", {"schemaVersion": 2, "config": "none"})
    made = package_image(model, f"{registry.host}/models/taxi:v1", base=base_in(registry), environ=ENVIRON)
    assert read(f"{registry.host}/models/taxi:v1").digest == ImageRef.parse(made.image).digest


def test_the_same_model_on_another_base_is_not_sent_again(registry: FakeRegistry, model: Path) -> None:
    to = f"{registry.host}/models/taxi:v1"
    first = package_image(model, to, base=base_in(registry), environ=ENVIRON)
    newer = base_in(registry, run={"StopSignal": "SIGINT"})
    registry.uploaded.clear()
    second = package_image(model, to, base=newer, environ=ENVIRON)
    assert second.image != first.image
    assert [digest for _, digest in registry.uploaded if digest == read(first.image).image.layers[-1].digest] == []
    assert second.sent_bytes < first.model_bytes


def test_one_login_is_for_the_base_and_the_image(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base = base_in(registry)
    registry.auth = "bearer"
    (tmp_path / ".docker").mkdir()
    auths = {registry.host: {"auth": base64.b64encode(b"user:secret").decode()}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))
    package_image(model, f"{registry.host}/models/taxi:v1", base=base, environ={"HOME": str(tmp_path)})
    assert list(registry.tokens.values()) == [
        {"repository:bases/serving:pull"},
        {"repository:bases/serving:pull", "repository:models/taxi:pull,push"},
    ]


@pytest.mark.parametrize("mounts", [True, False])
def test_the_base_is_mounted_or_else_copied(registry: FakeRegistry, model: Path, mounts: bool) -> None:
    registry.mounts = mounts
    base = base_in(registry)
    made = package_image(model, f"{registry.host}/models/taxi", base=base, environ=ENVIRON)
    layers = {layer.digest for layer in read(made.image).image.layers[:2]}
    assert {digest for _, digest in registry.mounted} == (layers if mounts else set())
    assert layers & {digest for _, digest in registry.uploaded} == (set() if mounts else layers)


def test_every_way_leads_to_the_same_image(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base = base_in(registry)
    (tmp_path / "taxi").mkdir()
    places = [
        f"{registry.host}/a/taxi:v1",
        f"oci:{tmp_path / 'taxi' / 'layout'}:v1",
        f"archive:{tmp_path / 'taxi.tar'}",
    ]
    made = [package_image(model, place, base=base, name="taxi", environ=ENVIRON) for place in places]
    assert len({ImageRef.parse(one.image).digest for one in made}) == 1
    # And a base that lies elsewhere is the same base.
    copy = package_image(model, f"oci:{tmp_path / 'copied'}", base=base, name="taxi", environ=ENVIRON)
    assert ImageRef.parse(copy.image).digest == ImageRef.parse(made[0].image).digest


def test_an_archive_is_replaced_by_the_next_one(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"archive:{tmp_path / 'taxi.tar'}"
    package_image(model, to, base=base, environ=ENVIRON)
    size = (tmp_path / "taxi.tar").stat().st_size
    (model / "variables" / "data").write_bytes(b"retrain" * 20_000)
    package_image(model, to, base=base, environ=ENVIRON)
    assert (tmp_path / "taxi.tar").stat().st_size == size


PACKAGE = """
import os, sys
from lading.package import package_image
model, base, to, umask, user = sys.argv[1:]
os.umask(int(umask, 8))
if user != "0":  # after the imports, since another user may not be allowed to read this Python
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
print(package_image(model, to, base=base, name="taxi", environ={"HOME": "/nowhere"}).image)
"""


class Elsewhere:
    """A directory that every user may enter, with a base and a model; and packaging in another process."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.base = root, f"oci:{root / 'base'}"
        root.chmod(0o777)
        put_base(open_place(self.base, environ=ENVIRON).store, tag="latest")
        made = package_image(model, f"oci:{root / 'expected'}", base=self.base, name="taxi", environ=ENVIRON)
        self.expected = ImageRef.parse(made.image).digest
        self.model = root / "deeper" / "copy"
        for file in [*sorted(model.rglob("*.*"), reverse=True), model / "variables" / "data"]:  # in another order
            there = self.model / file.relative_to(model)
            there.parent.mkdir(exist_ok=True, parents=True)
            there.write_bytes(file.read_bytes())
            there.chmod(0o664)
            os.utime(there, (1, 1))

    def package(self, name: str, umask: str = "022", python: str = sys.executable, user: int = 0) -> str:
        words = [python, "-c", PACKAGE, str(self.model), self.base, f"oci:{self.root / name}", umask, str(user)]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ, timeout=60)
        assert not done.returncode, done.stderr
        return ImageRef.parse(done.stdout.strip()).digest


@pytest.fixture
def elsewhere(model: Path) -> Iterator[Elsewhere]:
    with tempfile.TemporaryDirectory() as root:
        yield Elsewhere(Path(root), model)


def test_the_same_model_is_the_same_image_from_another_directory_and_umask(elsewhere: Elsewhere) -> None:
    assert elsewhere.package("strict", umask="077") == elsewhere.expected
    assert elsewhere.package("lax", umask="000") == elsewhere.expected


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_same_model_is_the_same_image_for_another_user(elsewhere: Elsewhere) -> None:
    assert elsewhere.package("other", user=65534) == elsewhere.expected
    assert (elsewhere.root / "other" / "index.json").stat().st_uid == 65534


def test_the_same_model_is_the_same_image_by_another_python(elsewhere: Elsewhere) -> None:
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    others = [version for version in ("3.11", "3.12", "3.13") if version != ".".join(map(str, sys.version_info[:2]))]
    found = [shutil.which(f"python{version}") for version in others]
    found += [str(path) for version in others for path in kept.glob(f"{version}.*/bin/python")]
    pythons = [path for path in found if path and not subprocess.run([path, "-c", ""], check=False).returncode]
    if not pythons:
        pytest.skip("there is no other Python here")
    for number, python in enumerate(pythons):
        assert elsewhere.package(f"python-{number}", python=python) == elsewhere.expected


def test_a_base_for_several_platforms(registry: FakeRegistry, model: Path) -> None:
    store = open_place(f"{registry.host}/bases/serving", environ=ENVIRON, writable=True).store
    digests = {one: put_base(store, platform=one) for one in ("linux/amd64", "linux/arm64")}
    put_index(store, digests, tag="latest")
    base, to = f"{registry.host}/bases/serving", f"{registry.host}/models/taxi"
    made = package_image(model, to, base=base, platform="linux/arm64", environ=ENVIRON)
    assert read(made.image).image.config["architecture"] == "arm64"
    assert made.base == f"{base}@{digests['linux/arm64']}"
    here = package_image(model, to, base=base, environ=ENVIRON)
    assert here.base == f"{base}@{digests[str(Platform.of_this_machine())]}"
    with pytest.raises(NotFound, match="it has linux/amd64, linux/arm64"):
        package_image(model, to, base=base, platform="linux/riscv64", environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected a platform such as"):
        package_image(model, to, base=base, platform="arm64", environ=ENVIRON)


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("place", ["{0}/models/taxi:v1", "oci:{1}/taxi:v1", "archive:{1}/taxi.tar"])
def test_a_base_whose_layers_zstd_packs_is_not_looked_into(
    registry: FakeRegistry, model: Path, tmp_path: Path, place: str, docker: bool
) -> None:
    packed = b"\x28\xb5\x2f\xfd that only zstd could read"
    store = open_place(f"{registry.host}/bases/serving", environ=ENVIRON, writable=True).store
    kind = "application/vnd.docker.image.rootfs.diff.tar.zstd" if docker else ZSTD_LAYER
    config = {"os": "linux", "architecture": "amd64", "config": {"Labels": LADING}, "rootfs": {"diff_ids": [NO_DIGEST]}}
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": put_bytes(store, json.dumps(config).encode(), CONFIG_TYPE).to_dict(),
        "layers": [put_bytes(store, packed, kind).to_dict()],
    }
    base = f"{registry.host}/bases/serving@{put_manifest(store, body, MANIFEST_TYPE)}"
    made = package_image(model, place.format(registry.host, tmp_path), base=base, environ=ENVIRON)
    image = read(made.image).image
    assert image.layers[0].media_type == ZSTD_LAYER
    assert b"".join(read(made.image).store.blob(image.layers[0].digest, deadline=soon())) == packed
    assert image.model_diff_id == made.model_diff_id


def test_tensorflow_serving_gets_our_entry_point(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    run = {"Entrypoint": ["/usr/bin/tf_serving_entrypoint.sh"], "Cmd": None, "User": "", "Env": ["MODEL_NAME=model"]}
    base = base_in(registry, "tensorflow/serving", labels={"maintainer": "x"}, docker=True, run=run)
    to = f"{registry.host}/models/taxi"
    made = package_image(model, to, base=base, runtime="tf-serving", environ=ENVIRON)
    image = read(made.image).image
    assert (image.command, made.runtime) == (("/opt/lading/bin/tf-serving",), "tf-serving")
    assert image.env["MODEL_NAME"] == "taxi"
    assert image.config["config"]["User"] == "65532:65532"
    assert image.labels["dev.lading.runtime"] == "tf-serving"
    script = unpacked(made.image, -3, tmp_path / "script") / "opt/lading/bin/tf-serving"
    assert os.access(script, os.X_OK)
    assert script.read_bytes() == (ROOT / "lading/entry_points/tf_serving.sh").read_bytes()
    # The model is the same layer, whichever server reads it.
    lading = package_image(model, to, base=base_in(registry), environ=ENVIRON)
    assert read(lading.image).image.layers[-1] == image.layers[-1]


@pytest.mark.parametrize(
    ("labels", "runtime", "message"),
    [
        (
            {},
            "",
            r"base with lading's server .*dev\.lading\.runtime=lading.* has no such label: .*--runtime tf-serving",
        ),
        ({"dev.lading.runtime": "host"}, "", r"has host: `make images`"),
        (LADING, "tf-serving", r"such as tensorflow/serving; .* has the label dev\.lading\.runtime=lading: leave out"),
        (
            {**LADING, "dev.lading.model.diff-id": "sha256:1", "org.opencontainers.image.base.digest": "sha256:2"},
            "",
            r"holds a model already: give the base that it was made on \(sha256:2\)",
        ),
    ],
)
def test_a_base_that_cannot_serve(
    registry: FakeRegistry, model: Path, labels: dict[str, str], runtime: str, message: str
) -> None:
    base = base_in(registry, labels=labels)
    with pytest.raises(InvalidReference, match=message):
        package_image(model, f"{registry.host}/models/taxi", base=base, runtime=runtime, environ=ENVIRON)
    assert not [line for line in registry.requests if not line.startswith(("GET", "HEAD"))]


def test_a_base_that_is_not_there(registry: FakeRegistry, model: Path) -> None:
    with pytest.raises(NotFound, match="bases/none"):
        package_image(model, f"{registry.host}/a", base=f"{registry.host}/bases/none:v1", environ=ENVIRON)


def test_a_base_with_litert_needs_a_converted_model(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry, labels={**LADING, "dev.lading.engine": "litert"})
    options: dict[str, Any] = {"base": base, "environ": ENVIRON}
    to = f"{registry.host}/models/taxi"
    with pytest.raises(InvalidModel, match=f"`lading convert {model} --out DIR`, then package DIR"):
        package_image(model, to, **options)
    folder = model / model_files.CONVERSION
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"passed": false}')
    with pytest.raises(InvalidModel, match="failed, as its report says: choose a base of the engine tensorflow"):
        package_image(model, to, **options)
    (folder / "report.json").write_text("{")
    with pytest.raises(InvalidModel, match="cannot be read"):
        package_image(model, to, **options)
    (folder / "report.json").write_text('{"passed": true}')
    (folder / "model.tflite").write_bytes(b"TFL3")
    made = package_image(model, to, **options)
    words = ("serve", "taxi=/models/taxi", "--engine", "litert")
    assert read(made.image).image.command == ("python3", "-m", "lading", *words)
    assert Path(model_files.CONVERSION) == FOLDER


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("oci:{0}/Taxi-2:v1", "Taxi-2"),
        ("oci:{0}/a.b", "a.b"),
        ("archive:{0}/taxi.tar", "taxi"),
        ("lading.local/x:v1", "x"),
    ],
)
def test_the_model_is_called_like_its_place(
    model: Path, registry: FakeRegistry, tmp_path: Path, to: str, name: str
) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path)}
    made = package_image(model, to.format(tmp_path), base=base_in(registry), environ=environ)
    place = open_place(made.image, environ=environ)
    assert read_base(place.store, place.wanted, deadline=soon()).image.model_path == f"models/{name}/1"
    named = package_image(model, to.format(tmp_path), base=base_in(registry), name="other", environ=environ)
    place = open_place(named.image, environ=environ)
    assert read_base(place.store, place.wanted, deadline=soon()).image.command[-1] == "other=/models/other"
    with pytest.raises(InvalidInput, match=r"expected a name for the model .*--name"):
        package_image(model, to.format(tmp_path), base="host", name="a/b", environ=environ)


def test_the_newest_of_several_versions(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    versions = tmp_path / "versions"
    for number in ("9", "10"):
        (versions / number).mkdir(parents=True)
        (versions / number / "saved_model.pb").write_text(number)
    (versions / "notes").mkdir()
    made = package_image(versions, to, base=base, environ=ENVIRON)
    root = unpacked(made.image, -1, tmp_path / "top")
    assert [str(path.relative_to(root)) for path in root.rglob("*.pb")] == ["models/taxi/10/saved_model.pb"]
    single = package_image(versions / "9", to, base=base, environ=ENVIRON)
    assert read(single.image).image.model_path == "models/taxi/1"
    (versions / "11").mkdir()
    with pytest.raises(InvalidModel, match=r"versions/11, the highest version of .* has no saved_model\.pb"):
        package_image(versions, to, base=base, environ=ENVIRON)


def test_a_model_in_a_bucket(
    registry: FakeRegistry, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)  # the switch of google-cloud-storage itself
    try:
        for file in model.rglob("*"):
            if file.is_file():
                storage.put("b", f"taxi/7/{file.relative_to(model)}", file.read_bytes())
        base, to = base_in(registry), f"{registry.host}/models/taxi"
        made = package_image("gs://b/taxi", to, base=base, environ=ENVIRON)
        assert read(made.image).image.model_path == "models/taxi/7"
        here = package_image(model, to, base=base, environ=ENVIRON)
        there = package_image("gs://b/taxi/7", to, base=base, environ=ENVIRON)
        assert here.image == there.image
        with pytest.raises(InvalidModel, match=r"expected a SavedModel .*received gs://b/none"):
            package_image("gs://b/none", to, base=base, environ=ENVIRON)
    finally:
        storage.close()


def test_an_image_for_this_machine_is_in_its_store_and_holds_nothing_else(model: Path, tmp_path: Path) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path / "state")}
    made = package_image(model, "lading.local/taxi", environ=environ)
    directory = tmp_path / "state" / "lading" / "local" / "images"
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    image = ImageStore(directory).read(ImageRef.parse(made.image))
    assert image.host_runtime
    assert image.command == ("python3", "-m", "lading", "serve", "taxi=models/taxi")
    assert image.env["LADING_MODEL_DIFF_ID"] == image.model_diff_id == made.model_diff_id
    layer = image.layer_of(made.model_diff_id)
    assert layer is not None
    assert (layer.size, image.model_path, made.base) == (made.model_bytes, "models/taxi/1", "")
    # No container engine takes it, rather than fail inside.
    assert (image.config["os"], image.config["architecture"]) == ("unknown", "unknown")
    for blob in (directory / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


FILL = """
import resource, signal, sys
from lading.package import package_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
package_image(sys.argv[1], "lading.local/taxi", environ={"XDG_STATE_HOME": sys.argv[2]})
"""


def test_a_full_disk_makes_no_image_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    (model / "variables" / "data").write_bytes(os.urandom(300_000))
    words = [sys.executable, "-c", FILL, str(model), str(tmp_path / "state")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "StorageError: no space left while writing" in done.stderr
    there = tmp_path / "state" / "lading" / "local" / "images"
    assert not (there / "index.json").exists()
    # What was whole before may stay, by its digest; nothing half-written does.
    for blob in (there / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


def test_what_the_host_runtime_cannot(model: Path) -> None:
    for to in ("taxi", "ghcr.io/a/taxi", "oci:dir"):
        with pytest.raises(InvalidReference, match=r"expected a repository such as lading\.local/taxi"):
            package_image(model, to, environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected --base with the runtime tf-serving"):
        package_image(model, "lading.local/taxi", runtime="tf-serving", environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected the runtime lading or tf-serving, received 'x'"):
        package_image(model, "lading.local/taxi", base="b", runtime="x", environ=ENVIRON)


def test_compression_is_another_image_of_the_same_model(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    one = package_image(model, to, base=base, environ=ENVIRON)
    two = package_image(model, to, base=base, compression="gzip", environ=ENVIRON)
    assert one.model_diff_id == two.model_diff_id
    assert two.model_bytes < one.model_bytes / 10


def test_who_may_not_push_is_told_and_nothing_is_tagged(registry: FakeRegistry, model: Path) -> None:
    base = base_in(registry)
    registry.denied.add("models/taxi")
    for to in (f"{registry.host}/models/taxi:v1", f"{registry.host}/models/taxi"):
        with pytest.raises(AccessDenied, match="an anonymous user may not push to it"):
            package_image(model, to, base=base, environ=ENVIRON)
    assert not registry.tags("models/taxi")


@pytest.fixture
def scanned(model: Path, tmp_path: Path) -> Path:
    """The report of a scan of the model, as a file."""
    (model / "saved_model.pb").write_bytes(b"\x08\x01\x12\x02\x12\x00")  # a version, and an empty graph
    (model / "assets").mkdir()
    (model / "assets" / "line\nbreak").write_bytes(b"vocabulary")
    report = tmp_path / "scan.json"
    report.write_text(to_json(scan_model(model)))
    return report


def test_a_model_that_is_as_it_was_scanned_is_packaged(registry: FakeRegistry, model: Path, scanned: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    made = package_image(model, to, base=base, scanned=read_report(scanned), environ=ENVIRON)
    assert made.image == package_image(model, to, base=base, environ=ENVIRON).image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: (model / "variables" / "data").write_bytes(b"WEIGHTS" * 20_000), "variables/data was changed"),
        (lambda model: (model / "variables" / "more").write_bytes(b""), "variables/more appeared"),
        (lambda model: (model / "variables" / "data").unlink(), "variables/data vanished"),
        (
            lambda model: (model / "variables" / "data").rename(model / "moved"),
            "moved appeared, variables/data vanished",
        ),
        (lambda model: (model / "assets" / r"line\nbreak").write_bytes(b""), "names cannot be told apart"),
        (
            lambda model: [(model / f"{number}").touch() for number in range(7)],
            "0 appeared, 1 appeared, .*, 4 appeared and 2 more",
        ),
    ],
    ids=["changed", "appeared", "vanished", "moved", "alike", "many"],
)
def test_a_model_that_is_not_what_was_scanned_is_refused(
    registry: FakeRegistry, model: Path, scanned: Path, change: Callable[[Path], object], message: str
) -> None:
    change(model)
    with pytest.raises(InvalidModel, match=message):
        package_image(
            model,
            f"{registry.host}/models/taxi:v1",
            base=base_in(registry),
            scanned=read_report(scanned),
            environ=ENVIRON,
        )
    assert not registry.tags("models/taxi")
    assert not registry.uploaded


def test_a_model_that_the_scan_rejected_is_refused(
    registry: FakeRegistry, model: Path, scanned: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"base": base_in(registry), "environ": ENVIRON}
    (model / "saved_model.pbtxt").touch()
    rejected = scan_model(model)
    with pytest.raises(InvalidInput, match="expected the report of a scan that passed, received one that rejects"):
        package_image(model, f"{registry.host}/models/taxi", scanned=rejected, **options)
    other = tmp_path / "other.json"
    other.write_text(to_json(ModelDigests("/", {})))
    with pytest.raises(InvalidInput, match="ScanReport"):
        read_report(other)
    with pytest.raises(StorageError, match=r"cannot read the scan report .*none\.json"):
        read_report(tmp_path / "none.json")


def test_the_command_compares_the_model_with_a_scan_report(registry: FakeRegistry, model: Path, scanned: Path) -> None:
    words = (str(model), "--base", base_in(registry), "--to", f"{registry.host}/models/taxi", "--scan-report")
    done = lading(*words, str(scanned))
    assert (done.returncode, done.stderr) == (0, "")
    (model / "variables" / "data").write_bytes(b"other")
    done = lading(*words, str(scanned))
    assert (done.returncode, done.stdout) == (2, "")
    assert "variables/data was changed. Nothing was packaged: scan it again" in done.stderr


def lading(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    known = {**os.environ, "HOME": "/nowhere", **environ}
    return subprocess.run(
        [sys.executable, "-m", "lading", "package", *words], capture_output=True, text=True, check=False, env=known
    )


def test_the_command_prints_the_image_and_nothing_else(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    done = lading(str(model), "--base", base, "--to", to)
    assert (done.returncode, done.stderr) == (0, "")
    assert ImageRef.parse(done.stdout.strip()).repository == f"{registry.host}/models/taxi"
    told = from_json(lading(str(model), "--base", base, "--to", to, "--json").stdout, PackagedImage)
    assert f"{told.image}\n" == done.stdout
    wrong = lading(str(model), "--to", to)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "for other places give --base" in wrong.stderr
    missing = lading(str(model), "--base", f"{registry.host}/bases/none", "--to", to)
    assert missing.returncode == 3
