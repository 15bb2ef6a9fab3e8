"""What a session is told, which is encoded by hand."""

import pytest

from lading.predict.engines.tensorflow import _config
from lading.predict.protos import message


@pytest.mark.parametrize(("threads", "inline", "inter"), [(1, True, -1), (2, False, 2), (200, True, -1)])
def test_it_is_what_protobuf_would_write(threads: int, inline: bool, inter: int) -> None:
    config = message("tensorflow.ConfigProto")(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=inter)
    config.graph_options.rewrite_options.disable_tfg_optimizer = True
    assert _config(threads, inline=inline) == config.SerializeToString()
