"""The release pipeline as it is shipped, on every target but ``local:``, which tests/flows has.

The platforms are servers on this machine that the real clients talk to; the image store stands for every registry.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cloudrun_place import CloudRunPlace
from idx_files import write_fashion
from knative_place import KnativePlace
from kubernetes_place import KubernetesPlace
from vertex_place import VertexPlace

from lading.local.state import Layout
from lading.targets.connect import connect
from lading.wait import Deadline

BELOW = {CloudRunPlace: "local/lading/local", KnativePlace: "local/lading/local"}
"""Where a place has the state with the images that it runs."""


def run(words: list[str], home: Path, environ: Mapping[str, str]) -> str:
    done = subprocess.run(words, cwd=home, env=environ, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "releases"),
    [
        pytest.param(KubernetesPlace, 1, id="kubernetes"),
        *(
            pytest.param(kind, 2, id=f"{kind.__name__}, twice", marks=[pytest.mark.slow, pytest.mark.timeout(600)])
            for kind in (CloudRunPlace, KnativePlace, KubernetesPlace, VertexPlace)
        ),
    ],
)
def test_a_release_is_promoted_and_can_be_asked(kind: Any, releases: int, tmp_path: Path) -> None:
    write_fashion(tmp_path / "fashion")
    root = tmp_path / "place"
    root.mkdir()
    place = kind(root)
    try:
        state, theirs = Layout(tmp_path / "state/lading/local"), Layout(root / BELOW.get(kind, "")).images
        state.root.mkdir(parents=True)
        theirs.mkdir(exist_ok=True)
        state.images.symlink_to(theirs)
        environ = {**os.environ, **place.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        sets = ("data=fashion", f"target={place.target_name}", "service=shop")
        words = [sys.executable, "-m", "lading", "run", "release", *(f"--set={one}" for one in sets)]
        served = set()
        for _ in range(releases):
            said = run(words, tmp_path, environ)
            for step in ("train", "evaluate", "scan", "package", "deploy", "smoke", "promote"):
                assert re.search(rf"^{step} +succeeded", said, re.M), said
            assert re.search(r"^T-shirt/top +\S+.* +\d+\.\d% +(right|wrong)$", said, re.M), said
            assert f"rollback --service shop --target {place.target_name}" in said
            found = connect(place.target_name, environ=environ).get("shop", deadline=Deadline.after(30))
            assert found is not None
            ((serving, percent),) = [(line.revision, line.percent) for line in found.serving()]
            assert percent == 100
            served.add(serving)
        assert len(served) == releases
        command = re.search(r"^Try it:\n  (.+)$", said, re.M)
        assert command
        if isinstance(place, KubernetesPlace):  # the others' URLs lead nowhere here, or want gcloud's login
            place.server.token = ""  # kubectl sends none where there is no TLS
            (probabilities,) = json.loads(run(["sh", "-c", command[1]], tmp_path, environ))["predictions"]
            assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    finally:
        place.stop()
