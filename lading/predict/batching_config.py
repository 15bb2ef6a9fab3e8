"""How requests are put together: TensorFlow Serving's BatchingParameters.

Source: tensorflow_serving/servables/tensorflow/{session_bundle_config.proto,bundle_factory_util.h}.
"""

from dataclasses import dataclass

from lading.errors import InvalidInput


@dataclass(frozen=True)
class BatchingConfig:
    """How requests are put together. Names and defaults: TensorFlow Serving's BatchingParameters.

    Raises:
        InvalidInput: values that contradict each other, all in one message.
    """

    max_batch_size: int = 1000
    """Most rows of a batch, and of a request that may share one. A request of more rows runs alone."""
    batch_timeout_micros: int = 0
    """How long the oldest request waits for others while a thread is free. 0: only while none is free."""
    max_enqueued_batches: int = 10
    """So many batches' rows of one signature may wait; past it requests are refused."""
    num_batch_threads: int = 0
    """Most batches at once. 0: as many as there are processors."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Ascending, the last is ``max_batch_size``; batches are padded to one of these."""
    pad_variable_length_inputs: bool = False
    """Whether inputs that differ in other dimensions than the first are padded to the longest."""
    enable_large_batch_splitting: bool = False
    """Whether a request that does not fit into the batch that forms is divided between that and the next ones."""
    max_execution_batch_size: int | None = None
    """With splitting, most rows of a batch; then ``max_batch_size`` is only that of a request. None: the same."""

    @property
    def largest_batch(self) -> int:
        """Most rows of a batch."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    @property
    def capacity(self) -> int:
        """Most rows of one signature that wait."""
        return self.max_enqueued_batches * self.largest_batch

    @property
    def needs_threads(self) -> bool:
        """Whether a request may have to wait though a batch could run."""
        return bool(self.batch_timeout_micros) or self.enable_large_batch_splitting

    def padded(self, rows: int) -> int:
        """The rows of a batch of so many with its padding."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)

    def __post_init__(self) -> None:
        problems = []
        for name, least in (("max_batch_size", 1), ("max_enqueued_batches", 1), ("num_batch_threads", 0)):
            if getattr(self, name) < least:
                problems.append(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.batch_timeout_micros < 0:
            problems.append(f"batch_timeout_micros is {self.batch_timeout_micros}, expected 0 or more")
        largest = self.largest_batch
        if not 1 <= largest <= max(1, self.max_batch_size):
            problems.append(
                f"max_execution_batch_size is {largest}, expected 1 to max_batch_size ({self.max_batch_size})"
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            problems.append(
                f"allowed_batch_sizes are {list(sizes)}, expected ascending sizes of which the last is max_batch_size "
                f"({self.max_batch_size})"
            )
        if problems:
            raise InvalidInput("batching parameters: " + "; ".join(problems))
