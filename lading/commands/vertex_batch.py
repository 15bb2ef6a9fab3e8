"""``lading vertex-batch``: predictions for files of rows, by a job of Vertex AI."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.commands.common import add_parser, emit, table

if TYPE_CHECKING:
    from lading.batches import VertexBatchReport
    from lading.vertex_batch import BatchPrediction


def register(subparsers: Any) -> None:
    """Add the command."""
    batch = add_parser(
        subparsers,
        "vertex-batch",
        "predict the rows of files with a batch prediction job of Vertex AI",
        epilog="exit codes: 0 done, 1 too many bad rows, 3 failed, 130 interrupted (the job is cancelled)",
    )
    add = batch.add_argument
    what = batch.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", default="", help="a serving image by digest; it is uploaded as a model")
    what.add_argument("--model", default="", metavar="NAME", help="projects/P/locations/R/models/M[@VERSION]")
    add("--project", required=True, help="Google Cloud project")
    add("--region", required=True, help="for instance europe-west4")
    add(
        *("--input", "-i"),
        required=True,
        action="append",
        metavar="URI",
        help="a file, directory or wildcard gs://, or a table bq://P.DATASET.TABLE; may be repeated",
    )
    add("--output", "-o", required=True, metavar="URI", help="gs://BUCKET/PREFIX or bq://P.DATASET")
    add("--model-name", default="", metavar="NAME", help="of the model that an image becomes (default: IMAGE-batch)")
    _add_options(batch)
    add("--max-bad-rows", default="10%", metavar="N|P%", help="with more the verdict is negative (default: 10%%)")
    add("--run-id", default="", metavar="ID", help="tells this request from an earlier one of the same words")
    add("--restart", action="store_true", help="start a job even if this request has one that runs or is done")
    add("--timeout", type=float, default=86400.0, metavar="SECONDS", help="then the job is cancelled (default: a day)")
    add("--report", type=Path, metavar="FILE", help="write the verdict here, as JSON")
    batch.set_defaults(run=_batch)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """What ``JobOptions`` has, under the same names."""
    from lading.vertex_jobs.options import DEFAULT_MACHINE, FORMATS, INSTANCE_TYPES

    add = parser.add_argument
    add("--input-format", choices=FORMATS, default="jsonl", help="default: jsonl")
    add("--machine-type", default=DEFAULT_MACHINE, metavar="NAME", help="default: %(default)s")
    add("--starting-replicas", type=int, default=0, metavar="N", help="machines at the start (default: Vertex decides)")
    add("--max-replicas", type=int, default=0, metavar="N", help="machines at most (default: 10, Vertex's own)")
    add("--accelerator-type", default="", metavar="NAME", help="for a --model whose container uses one")
    add("--accelerator-count", type=int, default=0, metavar="N", help="of each machine")
    add("--batch-size", type=int, default=0, metavar="N", help="rows of one request (default: 64, Vertex's own)")
    add("--key-field", default="", metavar="NAME", help="a column for the output, not for the model")
    add(
        "--include", action="append", default=[], metavar="FIELD", help="a field for the model, and no others than such"
    )
    add("--exclude", action="append", default=[], metavar="FIELD", help="a field that is not for the model")
    add("--instance-type", choices=INSTANCE_TYPES, default="", help="what a row of JSON or BigQuery is made to be")
    add("--service-account", default="", metavar="EMAIL", help="who the container is")
    add("--label", action="append", default=[], metavar="NAME=VALUE", help="of the job; may be repeated")
    add("--explain", action="store_true", help="explanations too, of a --model that has an explanation spec")
    add("--encryption-key", default="", metavar="NAME", help="projects/P/locations/R/keyRings/K/cryptoKeys/C")


def _request(args: argparse.Namespace) -> "BatchPrediction":
    from lading.errors import InvalidInput
    from lading.vertex_batch import BatchPrediction
    from lading.vertex_jobs.options import JobOptions

    if wrong := [given for given in args.label if "=" not in given]:
        raise InvalidInput(f"expected --label NAME=VALUE, received {wrong[0]!r}")
    options = JobOptions(
        input_format=args.input_format,
        machine_type=args.machine_type,
        starting_replicas=args.starting_replicas,
        max_replicas=args.max_replicas,
        accelerator_type=args.accelerator_type,
        accelerator_count=args.accelerator_count,
        batch_size=args.batch_size,
        key_field=args.key_field,
        included_fields=tuple(args.include),
        excluded_fields=tuple(args.exclude),
        instance_type=args.instance_type,
        service_account=args.service_account,
        labels=dict(given.split("=", 1) for given in args.label),
        generate_explanation=args.explain,
        encryption_key=args.encryption_key,
    )
    return BatchPrediction(
        project=args.project,
        region=args.region,
        inputs=tuple(args.input),
        output=args.output,
        image=args.image,
        model=args.model,
        model_name=args.model_name,
        options=options,
        max_bad_rows=args.max_bad_rows,
        run_id=args.run_id,
        restart=args.restart,
    )


def _batch(args: argparse.Namespace) -> int:
    from lading.files import write_atomic
    from lading.values import to_json
    from lading.vertex_batch import batch_predict
    from lading.wait import Deadline

    report = batch_predict(
        _request(args),
        environ=os.environ,
        deadline=Deadline.after(args.timeout),
        tell=lambda words: print(words, file=sys.stderr),
    )
    if args.report:
        write_atomic(args.report, to_json(report))
    emit(args, json.loads(to_json(report)), _for_people(report))
    return 0 if report.passed else 1


def _for_people(report: "VertexBatchReport") -> str:
    checks = [(c.name, "passed" if c.passed else "FAILED", c.expected, c.received) for c in report.checks]
    lines = [table(("check", "", "expected", "received"), checks), ""]
    lines.append(f"{report.successful:,} of {report.rows:,} rows predicted in {report.seconds:.0f} s")
    lines += [f"output  {report.output}", f"model   {report.model}", f"job     {report.url}"]
    lines += [f"        {problem}" for problem in report.problems[:5]]
    return "\n".join(lines)
