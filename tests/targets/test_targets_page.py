"""docs/targets.md says of each target what the code says."""

from dataclasses import fields
from pathlib import Path

import pytest
from kubeconfigs import write

from lading.results import LocalEndpoint
from lading.targets.base import Capabilities
from lading.targets.connect import connect
from lading.targets.settings import Settings
from lading.values import to_json

PAGE = Path(__file__).parent.parent.parent / "docs" / "targets.md"
TARGETS = ("local:", "cloudrun:p/r", "knative:n", "kubernetes:n", "vertex:p/r")


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Capabilities]:
    """What each target declares; none of them is asked anything."""
    state = tmp_path / "lading" / "local"
    state.mkdir(parents=True)
    (state / "endpoint.json").write_text(to_json(LocalEndpoint("http://127.0.0.1:1", "token", 1)))
    environ = {
        "XDG_STATE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "KUBECONFIG": str(write(tmp_path / "config", "http://127.0.0.1:1", token="t")),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": "http://127.0.0.1:1",
    }
    return {name: connect(name, environ=environ).capabilities for name in TARGETS}


def table(found: dict[str, Capabilities]) -> str:
    schemes = [name.partition(":")[0] for name in found]
    rows = [["", *(f"`{scheme}:`" for scheme in schemes)], ["---"] * (len(schemes) + 1)]
    for setting in fields(Settings):
        rows.append([f"`{setting.name}`", *("✓" if setting.name in one.settings else "" for one in found.values())])
    rows.append(["the candidate is asked", *(one.candidate for one in found.values())])
    rows.append(["private until it is opened", *("yes" if one.private else "no" for one in found.values())])
    rows.append(["`--public`", *("yes" if one.public else "no" for one in found.values())])
    seen = ("yes" if one.sees_traffic else "no" for one in found.values())
    rows.append(["its users' requests judge a rollout", *seen])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def test_the_table_of_capabilities_equals_the_code(found: dict[str, Capabilities]) -> None:
    between = PAGE.read_text().split("<!-- capabilities:")[1].partition("-->\n")[2].partition("\n<!-- end -->")[0]
    assert between == table(found)


def test_every_setting_is_explained() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for setting in fields(Settings):
        assert sum(f"`{setting.name}`" in line for line in lines) >= 2, setting.name
