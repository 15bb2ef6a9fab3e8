"""``lading run``: a compiled pipeline on this machine, through ``kfp.local``."""

import argparse
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parameters, add_parser, table

if TYPE_CHECKING:
    from lading.flows.run import Run
    from lading.releases import Promotion
    from lading.run_report import RunReport
    from lading.targets.door import Door

_EXIT_BY_OUTCOME = {"promoted": 0, "succeeded": 0, "rejected": 1, "cancelled": 130}


def register(subparsers: Any) -> None:
    """Add ``lading run``."""
    parser = add_parser(
        subparsers,
        "run",
        "run a pipeline on this machine, and the local target with it",
        epilog="example:\n  lading run release --set recipe=my_recipe.py --set data=my_data/",
    )
    parser.add_argument("pipeline", help="name of a pipeline (release), or the path of a compiled one (.yaml)")
    add_parameters(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lading.commands.screen import Screen
    from lading.errors import LadingError
    from lading.files import state_dir
    from lading.flows.catalog import find_pipeline
    from lading.flows.run import execute, new_run
    from lading.flows.summary import summarize
    from lading.spec.ir import Pipeline
    from lading.spec.parameters import absolute_places, gather_parameters, resolved_path

    if importlib.util.find_spec("kfp") is None:
        raise LadingError("running a pipeline needs Kubeflow Pipelines' SDK: pip install 'lading[pipelines]'")
    pipeline = find_pipeline(args.pipeline)
    compiled = Pipeline.load(pipeline)
    parameters = gather_parameters(compiled, words=args.set, file=args.parameters or "", environ=os.environ)
    parameters |= {key: resolved_path(parameters[key]) for key in ("data", "recipe", "model") if key in parameters}
    parameters |= {key: absolute_places(parameters[key]) for key in ("inputs", "output") if key in parameters}
    run = new_run(args.pipeline, pipeline, parameters, state_dir(os.environ) / "runs")
    if run.parameters.get("target", "").startswith("local:"):
        _start_local_target()
    screen = Screen(quiet=args.json)
    execute(run, pipeline, environ=os.environ, watch=screen.show)
    report = _finish(run, summarize(run))
    print(json.dumps(_for_machines(report, run), indent=1) if args.json else _for_people(report, run))
    return _EXIT_BY_OUTCOME.get(report.outcome, 3)


def _start_local_target() -> None:
    from lading.files import state_dir
    from lading.local.lifecycle import start
    from lading.wait import Deadline

    start(state_dir(os.environ) / "local", deadline=Deadline.after(30))


def _finish(run: "Run", report: "RunReport") -> "RunReport":
    """Ask the promoted service a few rows, and write the report where it can be opened."""
    from dataclasses import replace

    from lading.errors import LadingError
    from lading.files import write_atomic
    from lading.flows.showcase import ask_examples
    from lading.report import render_run
    from lading.report.curl import row_body
    from lading.values import to_json

    heldout = run.output("train", "heldout")
    if report.promotion and report.packaged and heldout:
        try:
            report = replace(report, examples=ask_examples(heldout, _door(report.promotion, _model_name(report))))
        except LadingError as error:
            report = replace(report, problem=f"the promoted service was asked a few rows: {error}")
    if report.examples:
        write_atomic(run.directory / "instances.json", row_body(report.examples[0].request))
    write_atomic(run.directory / "report.json", to_json(report))
    write_atomic(run.directory / "report.html", render_run(report))
    return report


def _door(promotion: "Promotion", model: str) -> "Door":
    """The way to ask a promoted service by its split."""
    from lading.targets.connect import connect

    target = connect(promotion.target, environ=os.environ)
    return target.door(promotion.service, None, url=promotion.url, model=model)


def _model_name(report: "RunReport") -> str:
    from lading.values import ImageRef

    assert report.packaged is not None
    return ImageRef.parse(report.packaged.image).repository.rsplit("/", 1)[-1]


def _for_machines(report: "RunReport", run: "Run") -> dict[str, Any]:
    return {
        "run": report.run_id,
        "outcome": report.outcome,
        "problem": report.problem,
        "seconds": report.seconds,
        "steps": [
            {"name": s.name, "status": s.status, "seconds": s.seconds, "verdict": s.verdict} for s in report.steps
        ],
        "accuracy": report.evaluation.accuracy if report.evaluation else None,
        "image": report.packaged.image if report.packaged else None,
        "url": report.promotion.url if report.promotion else None,
        "revision": report.promotion.revision if report.promotion else None,
        "undone": run.undone,
        "report": str(run.directory / "report.html"),
    }


def _for_people(report: "RunReport", run: "Run") -> str:
    rows = [(step.name, step.status, f"{step.seconds:.1f} s", step.verdict) for step in report.steps]
    parts = [table(("step", "status", "time", "verdict"), rows)]
    parts.append(f"{report.outcome} after {report.seconds:.1f} s" + (f": {report.problem}" if report.problem else ""))
    if run.undone:
        parts.append(f"The service: {run.undone}.")
    if report.promotion:
        parts.append(_service_words(report, run))
    elif report.outcome not in ("promoted", "succeeded"):
        parts.append(f"logs      {run.logs}")
    parts.append(f"report    {run.directory / 'report.html'}")
    return "\n" + "\n\n".join(parts)


def _service_words(report: "RunReport", run: "Run") -> str:
    from lading.report import curl_command

    promotion = report.promotion
    assert promotion
    body = run.directory / "instances.json"
    lines = []
    # A pipeline of somebody else may have no such steps.
    if report.evaluation:
        lines.append(f"accuracy  {report.evaluation.accuracy:.4f} on {report.evaluation.rows} held-out rows")
    if report.packaged:
        lines.append(f"image     {report.packaged.image}")
    lines.append(f"service   {promotion.url}")
    if report.examples:
        request, model = report.examples[0].request, _model_name(report)
        command = curl_command(promotion.url, model, request, target=promotion.target, body_file=body)
        lines += ["", "Try it:", f"  {command}", ""]
        shown = [
            (e.true, e.predicted, f"{e.probability:.1%}", "right" if e.true == e.predicted else "wrong")
            for e in report.examples
        ]
        lines.append(table(("true", "predicted", "probability", ""), shown))
    is_here = promotion.target == "local:"
    there = "" if is_here else f" --target {promotion.target}"
    lines += ["", f"go back   {_own_name()} rollback --service {promotion.service}{there}"]
    if is_here:
        lines.append(f"stop      {_own_name()} local stop   (or: make stop)")
    return "\n".join(lines)


def _own_name() -> str:
    """How the caller can call this command again."""
    if shutil.which("lading"):
        return "lading"
    return sys.argv[0] if Path(sys.argv[0]).name == "lading" else f"{sys.executable} -m lading"
