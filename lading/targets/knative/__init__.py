"""Services through the Knative Serving API: on a cluster, on Cloud Run, and on the embedded local target."""
