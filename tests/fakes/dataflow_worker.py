"""Runs a pipeline that was staged for Dataflow: ``python dataflow_worker.py PIPELINE.pb``.

In place of the containers that the pipeline names, threads of this process are the workers.
"""

import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

pipeline = beam_runner_api_pb2.Pipeline.FromString(Path(sys.argv[1]).read_bytes())
for environment in pipeline.components.environments.values():
    environment.urn = python_urns.EMBEDDED_PYTHON
    environment.payload = b""
    del environment.dependencies[:]
FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
