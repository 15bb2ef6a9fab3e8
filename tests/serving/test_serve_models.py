"""``lading serve`` as a process: versions come and go under requests."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from model_places import put, until
from served import Served
from served import serving as serve
from test_models import BROKEN


def answer(served: Served, path: str = "m") -> list[float]:
    found = served.post(f"/v1/models/{path}:predict", {"instances": [1.0]})
    assert found.status_code == 200, found.text
    predictions: list[float] = found.json()["predictions"]
    return predictions


def state(served: Served, version: int) -> dict[str, object]:
    statuses = served.get("/v1/models/m").json()["model_version_status"]
    found: dict[str, object] = next((s for s in statuses if s["version"] == str(version)), {})
    return found


class Calls:
    """Posts all the time, and keeps what came."""

    def __init__(self, call: Callable[[], list[float]]) -> None:
        self.answers: set[float] = set()
        self.failures: list[BaseException] = []
        self.made = 0
        self._call, self._stopped = call, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.answers.update(self._call())
                self.made += 1
            except BaseException as error:
                self.failures.append(error)

    def __enter__(self) -> "Calls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def test_a_new_version_replaces_the_old_and_a_bad_one_does_not(scale_versions: Path, tmp_path: Path) -> None:
    put(scale_versions / "1", tmp_path, "1")
    with serve(f"m={tmp_path}", "--port", "0", "--grpc-port", "off", "--poll", "0.05") as served:
        with Calls(lambda: answer(served)) as calls:
            until(lambda: calls.made > 5)
            put(scale_versions / "2", tmp_path, "2")
            until(lambda: state(served, 1).get("state") == "END")
            (put(scale_versions / "3", tmp_path, "3") / "saved_model.pb").write_bytes(b"nonsense")
            until(lambda: state(served, 3).get("state") == "END")
        assert (calls.failures, calls.answers) == ([], {1.0, 2.0})
        assert "cannot load the SavedModel" in str(state(served, 3)["status"])
        assert answer(served) == answer(served, "m/versions/2") == [2.0]
        assert served.get("/v2/health/ready").ok


def test_models_and_labels_of_a_configuration_file(scale_versions: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    text = (
        'model_config_list {{ config {{ name: "m" base_path: "{}" model_version_policy {{ all {{}} }} '
        'version_labels {{ key: "stable" value: {} }} }} }}'
    )
    file.write_text(text.format(scale_versions, 1))
    words = ("--model-config-file", str(file), "--model-config-poll", "0.05", "--port", "0", "--grpc-port", "off")
    with serve(*words) as served:
        assert (answer(served, "m/labels/stable"), answer(served)) == ([1.0], [3.0])
        file.write_text(text.format(scale_versions, 2))
        until(lambda: answer(served, "m/labels/stable") == [2.0])
    file.write_text("nonsense")
    command = [sys.executable, "-m", "lading", "serve", "--model-config-file", str(file), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"{file}: expected a tensorflow.serving.ModelServerConfig" in done.stderr.splitlines()[-1]


def test_models_that_cannot_be_served_say_why_and_others_serve(scale_versions: Path, tmp_path: Path) -> None:
    words = [f"m={scale_versions}"]
    names = {case: case.replace(" ", "-") for case in BROKEN}
    for case, (alter, _) in BROKEN.items():
        (tmp_path / names[case]).mkdir()
        alter(put(scale_versions / "1", tmp_path / names[case], "1"))
        words.append(f"{names[case]}={tmp_path / names[case]}")
    with serve(*words, "--port", "0", "--grpc-port", "off") as served:
        assert answer(served) == [3.0]
        for case, (_, reason) in BROKEN.items():
            (version,) = served.get(f"/v1/models/{names[case]}").json()["model_version_status"]
            assert (version["version"], version["state"]) == ("1", "END")
            assert version["status"]["error_code"] == "INVALID_ARGUMENT"
            assert re.search(reason, version["status"]["error_message"])
            (line,) = [line for line in served.lines if line.get("model") == names[case]]
            assert (line["severity"], line["error"]) == ("ERROR", version["status"]["error_message"])
            refused = served.post(f"/v1/models/{names[case]}:predict", {"instances": [1.0]})
            assert (refused.status_code, "Servable not found" in refused.json()["error"]) == (404, True)
            assert served.get(f"/v2/models/{names[case]}/ready").status_code == 503
        # The server as a whole is not ready, and tells so to who asks; nobody is kept from asking the good one.
        assert served.get("/v2/health/ready").status_code == 503
        assert served.get("/v2/models/m/ready").ok
        assert served.get("/v2/health/live").ok
        assert answer(served) == [3.0]


def test_what_an_engine_lacks_is_said_too(litert_model: Path, mixed_model: Path) -> None:
    words = (
        f"good={litert_model}",
        f"strings={mixed_model}",
        "--engine",
        "litert",
        "--port",
        "0",
        "--grpc-port",
        "off",
    )
    with serve(*words) as served:
        assert served.post("/v1/models/good:predict", {"instances": [[[0.5] * 28] * 28]}).ok
        (version,) = served.get("/v1/models/strings").json()["model_version_status"]
        assert version["state"] == "END"
        assert "lading convert" in version["status"]["error_message"]
