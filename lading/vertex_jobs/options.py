"""How a batch prediction job of Vertex AI runs. These options are part of what a job is asked to do."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lading.errors import InvalidInput
from lading.options import options_from_json

FORMATS = ("jsonl", "csv", "tf-record", "tf-record-gzip", "file-list", "bigquery")
"""Source: ``Model.supported_input_storage_formats`` of the API."""
INSTANCE_TYPES = ("object", "array")
DEFAULT_MACHINE = "n1-standard-2"

# Source: InstanceConfig of the API, which knows no fields in the other formats.
_WITH_KEY = ("jsonl", "csv", "bigquery", "tf-record", "tf-record-gzip")
_WITH_FIELDS = ("jsonl", "bigquery", "tf-record", "tf-record-gzip")
_WITH_TYPES = ("jsonl", "bigquery")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_MOST_LABELS = 60  # of 64; some are lading's


@dataclass(frozen=True)
class JobOptions:
    """How a job runs; an empty text and 0 stand for the service's own choice.

    Raises:
        InvalidInput: values that cannot be, all in one message.
    """

    input_format: str = "jsonl"
    """One of ``FORMATS``. What reaches the model: ``jsonl`` each line; ``csv`` and ``bigquery`` each row as an array;
    the others ``{"b64": …}``."""
    machine_type: str = DEFAULT_MACHINE
    starting_replicas: int = 0
    max_replicas: int = 0
    """The service's own choice is 10."""
    accelerator_type: str = ""
    """For instance ``NVIDIA_TESLA_T4``; not for lading's images, which compute on processors."""
    accelerator_count: int = 0
    batch_size: int = 0
    """Instances of one request to the model; the service's own choice is 64."""
    key_field: str = ""
    """Not given to the model; stands in the output instead of the instance."""
    included_fields: tuple[str, ...] = ()
    """Given to the model, no others; in this order where an instance is an array."""
    excluded_fields: tuple[str, ...] = ()
    """Not given to the model."""
    instance_type: str = ""
    """``object`` or ``array``: what an instance is made to be."""
    service_account: str = ""
    """Who the container is: an e-mail address."""
    labels: Mapping[str, str] = field(default_factory=dict)
    generate_explanation: bool = False
    """Only for a model that was uploaded with an explanation spec."""
    encryption_key: str = ""
    """``projects/P/locations/R/keyRings/K/cryptoKeys/C``, of the job and what it stores on the way."""

    def __post_init__(self) -> None:
        problems = [*self._wrong_values(), *self._wrong_fields(), *self._wrong_labels()]
        if problems:
            raise InvalidInput("; ".join(problems))

    @classmethod
    def from_json(cls, text: str) -> "JobOptions":
        """Read a JSON object whose members are options.

        Raises:
            InvalidInput: it is none, or has a member that is no option, or one of another type.
        """
        return options_from_json(cls, text)

    def _wrong_values(self) -> Iterator[str]:
        if self.input_format not in FORMATS:
            yield f"expected as input format one of {', '.join(FORMATS)}, received {self.input_format!r}"
        if self.instance_type not in ("", *INSTANCE_TYPES):
            yield f"expected as instance type {' or '.join(INSTANCE_TYPES)}, received {self.instance_type!r}"
        for name in ("starting_replicas", "max_replicas", "accelerator_count", "batch_size"):
            if getattr(self, name) < 0:
                yield f"expected {name} of 1 or more, or 0 for the service's choice, received {getattr(self, name)}"
        if 0 < self.max_replicas < self.starting_replicas:
            yield f"expected starting_replicas ≤ max_replicas, received {self.starting_replicas}, {self.max_replicas}"
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            yield "expected accelerator_type and accelerator_count, or neither"
        if not self.machine_type:
            yield f"expected a machine type such as {DEFAULT_MACHINE}"
        if self.encryption_key and not _KEY.fullmatch(self.encryption_key):
            yield (
                "expected as encryption key projects/P/locations/R/keyRings/K/cryptoKeys/C, received "
                f"{self.encryption_key!r}"
            )
        if self.service_account and "@" not in self.service_account:
            yield f"expected as service account an e-mail address, received {self.service_account!r}"

    def _wrong_fields(self) -> Iterator[str]:
        if self.included_fields and self.excluded_fields:
            yield "expected included fields or excluded fields, received both"
        for name, known in (
            ("key_field", _WITH_KEY),
            ("included_fields", _WITH_FIELDS),
            ("excluded_fields", _WITH_FIELDS),
            ("instance_type", _WITH_TYPES),
        ):
            if getattr(self, name) and self.input_format in FORMATS and self.input_format not in known:
                yield f"{name} is for {', '.join(known)}: Vertex does not take it with {self.input_format}"

    def _wrong_labels(self) -> Iterator[str]:
        if len(self.labels) > _MOST_LABELS:
            yield f"expected at most {_MOST_LABELS} labels, received {len(self.labels)}"
        for name, value in self.labels.items():
            if not _LABEL.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
                yield f"labels: Vertex takes at most 63 of a-z, 0-9, _ and -, received {name!r}: {value!r}"
            elif name.startswith("lading-"):
                yield f"labels: names with lading- are lading's own, received {name!r}"
