"""What a batch service counts, in Prometheus' text format."""

from collections.abc import Sequence

from lading import __version__
from lading.batch.service.models import Models
from lading.batch.service.runs import Runs, State
from lading.serving.exposition import Labels, head, sample
from lading.serving.process import process_metrics

Samples = Sequence[tuple[Labels, float]]


def render(runs: Runs, models: Models, *, revision: str) -> bytes:
    """The whole page; serve it as ``exposition.CONTENT_TYPE``."""
    now = {State.QUEUED: runs.queued, State.RUNNING: len(runs.running)}
    lines = [
        *_lines(
            "lading_batch_runs",
            "Runs that have not ended, by state.",
            [((("state", state.value),), number) for state, number in now.items()],
        ),
        *_lines(
            "lading_batch_runs_total",
            "Runs that ended, by state.",
            [((("state", state.value),), runs.counts[state]) for state in State if state.is_final],
        ),
        *_lines("lading_batch_rows_total", "Rows that were predicted, or bad.", [((), runs.rows)]),
        *_lines("lading_batch_bad_rows_total", "Bad rows.", [((), runs.bad_rows)]),
        *_lines("lading_batch_models", "Models that are loaded.", [((), len(models.names))]),
        *_lines("lading_batch_model_loads_total", "Models that were loaded so far.", [((), models.loads)]),
        *_lines("lading_batch_memory_budget_bytes", "What runs and models may take.", [((), models.budget)]),
        *_lines(
            "lading_batch_memory_reserved_bytes",
            "What is set aside of that.",
            [((("for", "runs"),), models.run_bytes), ((("for", "models"),), models.model_bytes)],
        ),
        *_lines("lading_info", "What runs: always 1.", [((("version", __version__), ("revision", revision)), 1)]),
    ]
    for name, meaning, value in process_metrics():
        lines += _lines(name, meaning, [((), value)])
    return ("\n".join(lines) + "\n").encode()


def _lines(name: str, meaning: str, samples: Samples) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    return [*head(name, kind, meaning), *(sample(name, labels, value) for labels, value in samples)]
