"""The command to paste: a shell hands curl exactly the request, however it is written."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lading.report import curl_command
from lading.report.curl import row_body

URL = "http://127.0.0.1:1"


def run(command: str) -> list[str]:
    """The arguments that a POSIX shell gives to curl."""
    shown = subprocess.run(
        ["sh", "-c", f'curl() {{ printf "%s\\n" "$@"; }}; {command}'], capture_output=True, text=True, check=True
    )
    return shown.stdout.splitlines()


def test_the_command_survives_a_shell() -> None:
    request = {"a": [[0.5]], "b'c": [["it's; $HOME `x` \\"]]}
    *_, flag, body, address = run(curl_command(URL, "shop", request))
    assert flag == "-d"
    assert json.loads(body) == {"instances": [{"a": [0.5], "b'c": ["it's; $HOME `x` \\"]}]}
    assert address == f"{URL}/v1/models/shop:predict"


def test_a_single_input_goes_without_its_name() -> None:
    assert row_body({"x": [[1.25, 2.0]]}) == '{"instances":[[1.25,2.0]]}'


def test_another_signature_is_named() -> None:
    body = run(curl_command(URL, "shop", {"x": [1]}, "scores"))[-2]
    assert json.loads(body) == {"signature_name": "scores", "instances": [1]}


@pytest.mark.parametrize("request_", [{"x": 1.5}, {"a": [[1]], "b": [[1], [2]]}, {"a": [1], "b": 2}, {}])
def test_inputs_without_a_common_batch_go_in_columns(request_: dict[str, Any]) -> None:
    assert json.loads(row_body(request_)) == {"inputs": request_}


def test_pixels_are_short_and_other_numbers_are_not_touched() -> None:
    image = [[[0.0, 1.0, 0.12345678, 0.00392156886] * 2] * 8]
    assert json.loads(row_body({"x": image}))["instances"] == [[[0, 1, 0.1235, 0.003922] * 2] * 8]
    assert "0.0," not in row_body({"x": image})
    assert json.loads(row_body({"x": [[1234567.0, 0.12345678]]})) == {"instances": [[1234567.0, 0.12345678]]}


def test_a_long_request_goes_into_a_file(tmp_path: Path) -> None:
    long, short = {"x": [[0.123] * 2000]}, {"x": [[0.123]]}
    file = tmp_path / "it's the body.json"
    assert run(curl_command(URL, "shop", long, body_file=file))[-2:] == [f"@{file}", f"{URL}/v1/models/shop:predict"]
    assert run(curl_command(URL, "shop", short, body_file=file))[-2] == row_body(short)
    assert run(curl_command(URL, "shop", long))[-2] == row_body(long)


def shown_to(tool: str, command: str) -> list[str]:
    """What a tool gets by a shell: its arguments, and then its standard input."""
    tools = 'gcloud() { echo "a token of $*"; }; '
    tools += f'{tool}() {{ printf "%s\\n" "$@"; case "$*" in *"-f -") cat;; esac; }}; '
    done = subprocess.run(["sh", "-c", tools + command], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("target", "kind", "path"),
    [("cloudrun:p/r", "identity", "/v1/models/shop:predict"), ("vertex:p/r", "access", ":rawPredict")],
)
def test_google_is_asked_with_a_token_of_gcloud(target: str, kind: str, path: str) -> None:
    words = shown_to("curl", curl_command(URL, "shop", {"x": [[1]]}, target=target))
    assert f"Authorization: Bearer a token of auth print-{kind}-token" in words
    assert words[-2:] == ['{"instances":[[1]]}', URL + path]


def test_a_service_that_only_its_cluster_knows_is_asked_through_the_api_server(tmp_path: Path) -> None:
    url, target = "http://shop.models.svc", "kubernetes:models"
    words = shown_to("kubectl", curl_command(url, "m", {"x": [["it's"]]}, target=target))
    proxy = "/api/v1/namespaces/models/services/http:shop:80/proxy/v1/models/m:predict"
    assert words == ["create", "--raw", proxy, "-f", "-", '{"instances":[["it\'s"]]}']
    long = {"x": [[0.123] * 2000]}
    words = shown_to("kubectl", curl_command(url, "m", long, target=target, body_file=tmp_path / "body.json"))
    assert words[-2:] == ["-f", str(tmp_path / "body.json")]
