"""Where a pipeline can be sent: Kubeflow Pipelines and Vertex AI, behind one protocol."""
