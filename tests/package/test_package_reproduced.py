"""The same model and base give the same image: by other ways, users and versions of Python."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry
from packaged_images import ENVIRON, ROOT, base_in
from tiny_bases import put_base

from lading.oci.connect import open_place
from lading.package import package_image
from lading.values import ImageRef


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
