"""Types of Google Cloud artifacts, by which the Vertex AI console links what a step made.

Declared here, not taken from google-cloud-pipeline-components, which holds google-cloud-aiplatform below 2. A step
imports the classes of its outputs, so they are in the library and not beside the components.
Source: google_cloud_pipeline_components/types/artifact_types.py.
"""

from kfp import dsl


class VertexModel(dsl.Artifact):  # type: ignore[misc]  # kfp has no types
    """A version of a model in the registry: its metadata's ``resourceName`` names it."""

    schema_title = "google.VertexModel"
    schema_version = "0.0.1"


class VertexEndpoint(dsl.Artifact):  # type: ignore[misc]
    """An endpoint: its metadata's ``resourceName`` names it."""

    schema_title = "google.VertexEndpoint"
    schema_version = "0.0.1"


class VertexBatchPredictionJob(dsl.Artifact):  # type: ignore[misc]
    """A batch prediction job: its metadata's ``resourceName`` names it.

    Further metadata: ``gcsOutputDirectory``, or ``bigqueryOutputDataset`` and ``bigqueryOutputTable``.
    """

    schema_title = "google.VertexBatchPredictionJob"
    schema_version = "0.0.1"
