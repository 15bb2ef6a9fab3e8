"""``lading train | evaluate``: from data to a model that is good enough."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from lading.commands.common import add_parser, emit, emit_verdict, table


def register(subparsers: Any) -> None:
    """Add the two commands."""
    train = add_parser(subparsers, "train", "train a model by a recipe and export it as a SavedModel")
    train.add_argument(
        "recipe", nargs="?", default="fashion_mnist", help="a built-in name, or a Python file (path, gs://)"
    )
    train.add_argument("--data", default="", help="what the recipe reads: a directory or a gs:// prefix")
    train.add_argument("--hyperparameters", default="{}", metavar="JSON", help="for instance '{\"epochs\": 5}'")
    train.add_argument("--recipe-sha256", default="", metavar="HEX", help="digest of the recipe file; needed for gs://")
    train.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="gets model/, golden.jsonl, heldout.npz and training.json",
    )
    train.set_defaults(run=_train)

    evaluate = add_parser(subparsers, "evaluate", "score a model as it will serve, and judge it")
    evaluate.add_argument("model", type=Path, help="a SavedModel")
    evaluate.add_argument("--heldout", required=True, type=Path, metavar="FILE", help="rows with their classes (npz)")
    evaluate.add_argument("--thresholds", default="{}", metavar="JSON", help="for instance '{\"min_accuracy\": 0.9}'")
    evaluate.add_argument("--service", default="", help="compare with the model that this service serves")
    evaluate.add_argument("--target", default="local:", help="where the service lives (default: %(default)s)")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="write the verdict here, as JSON")
    evaluate.set_defaults(run=_evaluate)


def _train(args: argparse.Namespace) -> int:
    import logging

    from lading.files import write_atomic
    from lading.train import train_model
    from lading.values import to_json

    out: Path = args.out
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # on standard error: one line an epoch
    report = train_model(
        args.recipe,
        args.data,
        hyperparameters=args.hyperparameters,
        recipe_sha256=args.recipe_sha256,
        model_dir=out / "model",
        golden_path=out / "golden.jsonl",
        heldout_path=out / "heldout.npz",
    )
    write_atomic(out / "training.json", to_json(report))
    rows = [(name, f"{value:.4g}") for name, value in report.metrics.items()]
    emit(args, json.loads(to_json(report)), f"{table(('metric', 'value'), rows)}\n\nmodel  {out / 'model'}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from lading.champion import champion_of
    from lading.evaluate import evaluate_model
    from lading.files import write_atomic
    from lading.values import to_json

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by the C library when it is loaded: errors only
    with champion_of(args.service, args.target, environ=os.environ) as champion:
        verdict = evaluate_model(args.model, args.heldout, thresholds=args.thresholds, champion=champion)
    if args.report:
        write_atomic(args.report, to_json(verdict))
    return emit_verdict(args, verdict)
