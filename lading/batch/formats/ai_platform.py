"""Predictions as AI Platform's batch jobs wrote them.

Form: https://docs.cloud.google.com/ai-platform/prediction/docs/batch-predict and the package batch_prediction of
github.com/kubeflow/batch-predict, which those jobs ran.
"""

from collections.abc import Mapping

from lading.batch.formats.json_output import LinesOutput, template
from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature


class AiPlatformOutput(LinesOutput):
    """Writes an object a line: the carried columns, and each output by its name, also a single one.

    Raises:
        InvalidInput: an output of complex numbers, or one with the name of a carried column.
    """

    suffix = ""

    def __init__(self, signature: Signature, options: BatchOptions) -> None:
        taken = [name for name in options.carried if name in signature.outputs]
        if taken:
            raise InvalidInput(
                f"the column {taken[0]!r} cannot be carried to the output, where an output of the model has that name: "
                "use the output format jsonl, or rename the column"
            )
        super().__init__(signature, options, template=template([*options.carried, *signature.outputs]))


def errors_stats(reasons: Mapping[str, int]) -> bytes:
    """The content of ``prediction.errors_stats-*``.

    Args:
        reasons: How often each was given.

    Returns:
        For each reason a line with the text of a tuple, ``('reason', count)``, which is not JSON; the most frequent
        first.
    """
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{(reason, count)!r}\n" for reason, count in ordered).encode("utf-8", "backslashreplace")
