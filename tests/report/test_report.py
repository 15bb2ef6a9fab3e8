"""The pages: what is on them, and that nothing on them can do harm."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from lading.releases import Candidate, Promotion, RevisionHealth, SmokeAnswer, SmokeReport, StepReport, TrafficTarget
from lading.report import render_run, render_verdict
from lading.results import ClassScore, EvaluationReport, PackagedImage
from lading.run_report import Example, RunReport, StepRecord
from lading.values import Check

IMAGE = "lading.local/shop@sha256:" + "a" * 64
GREY: dict[str, Any] = {"image": [[[0.0] * 14 + [1.0] * 14] * 28]}
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
RIGHT = SmokeAnswer("serving_default", True, 1.5, "", GREY, {"softmax": [[0.25, 0.75]]})
SMOKE = SmokeReport(
    passed=False,
    image=IMAGE,
    revision="shop-1",
    url="http://127.0.0.1:2",
    checks=(Check("answers", False, "every golden request answered rightly", f"0 of 1 right; {EVIL}"),),
    answers=(replace(RIGHT, passed=False, problem=f"y[0]: {EVIL}"),),
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

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def smoke_page(*answers: SmokeAnswer) -> Page:
    return Page(render_run(replace(RUN, examples=(), smoke=replace(SMOKE, answers=answers))))


def test_a_run_is_told_whole() -> None:
    page = Page(render_run(RUN))
    for said in (
        "release: ✓ promoted", "2026-01-01 00:00:00 UTC", "17.0 s", "Traffic before shop-0 100 %",
        "Traffic now shop-1 100 %", IMAGE, "sha256:" + "b" * 64, "90.00 %", "91.00 %", "−1.00 points", "0.2500",
        "at least 0.8", "0 of 1", "median 1.5 ms", "12.0", "accuracy 0.9", "0.7 MB", "true: Bag",
        "/v1/models/shop:predict",
    ):  # fmt: skip
        assert said in page.text, said


def test_what_others_wrote_is_shown_and_never_obeyed() -> None:
    """A page needs nothing from outside, runs nothing, and tells the browser to keep it so."""
    pages = (render_run(replace(RUN, problem=EVIL)), render_verdict(SMOKE), render_verdict(EVALUATION))
    for html in pages:
        page = Page(html)
        assert EVIL in page.text
        assert EVIL not in html
        assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,"), tag
            assert not any(name.startswith("on") for name in attributes), tag
        policies = [meta["content"] for meta in page.having("meta") if "http-equiv" in meta]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_only_web_addresses_are_links() -> None:
    assert RUN.promotion
    assert [a["href"] for a in Page(render_run(RUN)).having("a")] == ["http://127.0.0.1:1"]
    page = Page(render_run(replace(RUN, promotion=replace(RUN.promotion, url="javascript:alert(1)"))))
    assert page.having("a") == []
    assert "javascript:alert(1)" in page.text


@pytest.mark.parametrize("outcome", ["failed", "rejected", "cancelled"])
def test_a_run_that_ended_early_still_has_a_page(outcome: str) -> None:
    steps = (StepRecord("train", "running", 0.0),)
    early = RunReport("release-1", "release", outcome, "long ago", 1.0, {}, steps, "step train: out of data")
    text = Page(render_run(early)).text
    for said in (f"release: ✗ {outcome}", "step train: out of data", "✗ cut off", "long ago"):
        assert said in text, said
    for part in ("Evaluation", "Smoke", "Service", "Image", "Parameters"):
        assert part not in text, part


def test_a_candidate_that_was_not_promoted_is_named() -> None:
    text = Page(render_run(replace(RUN, outcome="rejected", promotion=None, examples=()))).text
    assert "Revision shop-1" in text
    assert "was not promoted" in text
    assert "curl" not in text


def test_a_verdict_says_what_failed() -> None:
    text = Page(render_verdict(SMOKE)).text
    assert "Smoke test: ✗ rejected" in text
    assert "answers : expected every golden request answered rightly, received 0 of 1 right" in text
    failed = replace(EVALUATION, passed=False, checks=(Check("min_accuracy", False, "at least 0.95", "0.9000"),))
    text = Page(render_verdict(failed)).text
    assert "Evaluation: ✗ rejected" in text
    assert "min_accuracy : expected at least 0.95, received 0.9000" in text


def test_the_steps_of_a_rollout_show_probes_and_users() -> None:
    healths = {name: RevisionHealth(name, 500, 1, 0, 2.0, 3.0) for name in ("new", "old")}
    check = Check("users' errors", False, "at most 0.10 %", "9 of 100")
    step = StepReport(30, False, (check,), healths["new"], healths["old"], 1.0, healths["new"], healths["old"])
    text = Page(render_verdict(Promotion("s", "local:", "r1", "new", "", (), (), "bad", False, (step,)))).text
    assert "30 % new , its users 500 1 0 2.0 3.0 70 % old , its users 500 1" in text
    assert "30 %: users' errors ✗ failed" in text
    assert "s on local: , revision new" in text


def test_the_matrix_is_a_table_with_names_on_both_sides() -> None:
    page = Page(render_verdict(EVALUATION))
    assert "Rows: true class. Columns: predicted class." in page.text
    assert f"{EVIL} Bag {EVIL} 10 0 Bag 2 8" in page.text
    heats = [td.get("style") for td in page.having("td") if td.get("class") in ("right", "hot")]
    assert heats == ["--heat: 1.00", "--heat: 0.45", "--heat: 0.80"]


def test_many_classes_are_shown_by_their_worst() -> None:
    size = 40
    scores = tuple(ClassScore(f"class {i}", 1.0, i / size, 8) for i in reversed(range(size)))
    confusion = tuple(tuple(3 if (i, j) == (7, 9) else 5 * (i == j) for j in range(size)) for i in range(size))
    text = Page(render_verdict(replace(EVALUATION, per_class=scores, confusion=confusion))).text
    assert "Confusion matrix" not in text
    assert "class 32 class 30 3 37.5 %" in text
    assert re.search(r"lowest recall .* class 0 100\.0 % 0\.0 % 8 class 1 ", text)
    assert "the other 25 classes" in text
    assert all(f" class {i} " in text for i in range(size))


def test_a_wrong_answer_comes_first_with_its_picture_and_problem() -> None:
    refused = replace(RIGHT, passed=False, problem="500 the model failed", response={})
    page = smoke_page(RIGHT, refused)
    assert len(page.having("img")) == 2
    assert "asked-wrong" in (page.having("li")[0]["class"] or "")
    assert page.text.index("✗ wrong 500 the model failed") < page.text.index("Bag 75.0 % ✓ agrees")


def test_at_most_24_pictures_and_how_many_more() -> None:
    gradients = replace(RIGHT, signature="input_gradients")
    page = smoke_page(*[RIGHT] * 30, gradients, replace(gradients, passed=False, problem="too steep"))
    assert len(page.having("img")) == 24
    assert "6 more of serving_default are not shown, all of them right." in page.text
    assert "1 more of input_gradients is not shown, it was right." in page.text
    assert "input_gradients ✗ wrong too steep" in page.text
    assert "31 of 32" in page.text


@pytest.mark.parametrize(
    "response",
    [
        {"a": [[0.1, 0.9]], "b": [[0.9, 0.1]]},
        {"ids": [[1, 0]]},
        {"a": [[0.1, 0.2, 0.7]]},
        {"a": [["x", "y"]]},
        {"a": 0.5},
        {},
    ],
)
def test_no_class_is_named_where_it_cannot_be_known(response: dict[str, Any]) -> None:
    page = smoke_page(replace(RIGHT, response=response))
    assert [img["alt"] for img in page.having("img")] == ["the picture that was asked about"]


def test_the_probabilities_are_found_beside_other_outputs() -> None:
    response = {"ids": [[7, 8]], "embedding": [[0.5, 0.5, 0.5]], "softmax": [[0.0, 1.0]]}
    assert "Bag 100.0 % ✓ agrees" in smoke_page(replace(RIGHT, response=response)).text


def test_without_class_names_the_index_is_shown() -> None:
    assert "class 1 75.0 %" in Page(render_verdict(replace(SMOKE, answers=(RIGHT,)))).text


def test_every_picture_has_a_text() -> None:
    assert all(img["alt"] for img in Page(render_run(RUN)).having("img"))


def test_long_times_are_told_in_minutes() -> None:
    assert "2 min 5 s" in Page(render_run(replace(RUN, seconds=125.4))).text
    assert "1 min 0 s" in Page(render_run(replace(RUN, seconds=59.97))).text
    assert "3 h 2 min" in Page(render_run(replace(RUN, seconds=10_950))).text
