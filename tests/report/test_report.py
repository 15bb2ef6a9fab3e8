"""The pages: what is on them, and that nothing on them can do harm."""

import base64
import json
import re
import struct
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lading.report import curl_command, render_run, render_verdict
from lading.report.picture import picture
from lading.values import (
    Candidate,
    Check,
    ClassScore,
    EvaluationReport,
    Example,
    PackagedImage,
    Promotion,
    RunReport,
    SmokeAnswer,
    SmokeReport,
    StepRecord,
    TrafficTarget,
)

IMAGE = "lading.local/shop@sha256:" + "a" * 64
GREY = {"image": [[[0.0] * 14 + [1.0] * 14] * 28]}
EVIL = "<script>alert(1)</script>"

EVALUATION = EvaluationReport(
    passed=True,
    checks=(Check("min_accuracy", True, "at least 0.8", "0.9000"),),
    rows=20,
    accuracy=0.9,
    log_loss=0.25,
    per_class=(ClassScore(EVIL, 0.9, 1.0, 10), ClassScore("Bag", 0.9, 0.8, 10)),
    confusion=((10, 0), (2, 8)),
    champion=IMAGE,
    champion_accuracy=0.91,
)
SMOKE = SmokeReport(
    passed=False,
    image=IMAGE,
    revision="shop-1",
    url="http://127.0.0.1:2",
    checks=(Check("answers", False, "every golden request answered rightly", f"0 of 1 right; {EVIL}"),),
    answers=(SmokeAnswer("serving_default", False, 1.5, f"y[0]: {EVIL}", GREY, {"softmax": [[0.25, 0.75]]}),),
    median_milliseconds=1.5,
)
RUN = RunReport(
    run_id="release-1",
    pipeline="release",
    outcome="promoted",
    started="2026-01-01T00:00:00+00:00",
    seconds=17.0,
    parameters={"data": EVIL},
    steps=(StepRecord("train", "succeeded", 12.0, "accuracy 0.9"), StepRecord("smoke", "failed", 0.5)),
    evaluation=EVALUATION,
    packaged=PackagedImage(IMAGE, "sha256:" + "b" * 64, 700_000),
    candidate=Candidate("shop", "local:", "r1", IMAGE, "sha256:" + "b" * 64, "shop-1", "http://a", "http://b", False),
    smoke=SMOKE,
    promotion=Promotion(
        "shop", "local:", "r1", "shop-1", "http://127.0.0.1:1", (TrafficTarget("shop-0", 100),),
        (TrafficTarget("shop-1", 100),), "right",
    ),
    examples=(Example(GREY, "Bag", EVIL, 0.5),),
)  # fmt: skip


class Page(HTMLParser):
    """Reads a page: its text, its tags, and whether they are closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def test_a_run_is_told_whole() -> None:
    page = Page(render_run(RUN))
    for said in (
        "release: promoted", "shop-1 100 %", "shop-0 100 %", IMAGE, "90.0 %", "at least 0.8", "0 of 1 answers right",
        "12.0", "accuracy 0.9", "0.7 MB", "true: Bag",
    ):  # fmt: skip
        assert said in page.text, said


def test_a_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    for html in (render_run(RUN), render_verdict(SMOKE), render_verdict(replace(EVALUATION, passed=False))):
        page = Page(html)
        assert "script" not in {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            source = attributes.get("src") or ""
            assert source.startswith("data:image/png;base64,") or not source, tag
            assert tag != "link"


@pytest.mark.parametrize("outcome", ["failed", "rejected", "cancelled"])
def test_a_run_that_ended_early_still_has_a_page(outcome: str) -> None:
    early = RunReport("release-1", "release", outcome, "2026", 1.0, {}, (), "step train: out of data")
    text = Page(render_run(early)).text
    assert f"release: {outcome}" in text
    assert "step train: out of data" in text
    assert "Evaluation" not in text


def test_a_verdict_says_what_failed() -> None:
    text = Page(render_verdict(SMOKE)).text
    assert "Rejected" in text
    assert "answers: expected every golden request answered rightly, received 0 of 1 right" in text


def test_many_classes_are_shown_by_their_worst_confusions() -> None:
    size = 40
    scores = tuple(ClassScore(f"class {i}", 1.0, 1.0, 5) for i in range(size))
    confusion = tuple(tuple(3 if (i, j) == (7, 9) else 5 * (i == j) for j in range(size)) for i in range(size))
    text = Page(render_run(replace(RUN, evaluation=replace(EVALUATION, per_class=scores, confusion=confusion)))).text
    assert "Confusion matrix" not in text
    assert re.search(r"3 class 7 class 9", text)


def test_a_picture_holds_the_pixels() -> None:
    png = base64.b64decode(picture(GREY).partition(",")[2])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (28, 28)
    start = png.index(b"IDAT") + 4
    pixels = zlib.decompress(png[start : start + struct.unpack(">I", png[start - 8 : start - 4])[0]])
    assert pixels[:29] == b"\x00" + b"\x00" * 14 + b"\xff" * 14


@pytest.mark.parametrize(
    "request_",
    [
        {"x": [[1.0, 2.0]]},
        {"x": [[[0.0] * 28] * 4]},
        {"x": [[[-1.0] * 28] * 28]},
        {"x": [[["a"] * 28] * 28]},
        {"x": [[[[0.0, 0.0]] * 28] * 28]},
        {"x": [[[0.0] * 28] * 27 + [[0.0] * 27]]},
    ],
)
def test_what_is_no_image_is_not_drawn(request_: dict) -> None:
    assert picture(request_) == ""


def test_the_command_survives_a_shell(tmp_path: Path) -> None:
    request = {"a": [[0.5]], "b'c": [["it's; $HOME `x`"]]}
    words = curl_command("http://127.0.0.1:1", "shop", request).replace("curl", "printf '%s\\n'", 1)
    out = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(out[2]) == {"instances": [{"a": [0.5], "b'c": ["it's; $HOME `x`"]}]}
    assert out[3] == "http://127.0.0.1:1/v1/models/shop:predict"


def test_a_long_request_goes_into_a_file() -> None:
    command = curl_command("http://127.0.0.1:1", "shop", {"x": [[0.123] * 2000]}, body_file=Path("/some/body.json"))
    assert command == "curl -s -d @/some/body.json http://127.0.0.1:1/v1/models/shop:predict"
