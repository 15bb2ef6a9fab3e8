"""KFP component: let the Vertex AI console link the model and the endpoint of a release."""

from kfp import dsl

from components.images import STEPS
from lading.artifact_types import VertexEndpoint, VertexModel


@dsl.component(base_image=STEPS, install_kfp_package=False)
def vertex_resources(
    candidate: dsl.Input[dsl.Artifact],
    model: dsl.Output[VertexModel],
    endpoint: dsl.Output[VertexEndpoint],
    timeout_seconds: int = 60,
):
    """Name the model and the endpoint of a release on Vertex AI, as artifacts that its console links.

    A step of its own, because on other targets there is nothing that it could name.

    Args:
        candidate: What `deploy` wrote.
        model: The version of the model in the Model Registry that the candidate is.
        endpoint: The endpoint of the service.
        timeout_seconds: How long it may take.

    Raises:
        InvalidInput: The candidate is on another target; run the step for vertex: only.
        NotFound: The service, or the revision, is gone.
        AccessDenied: The step may not read endpoints and models; it needs roles/aiplatform.user.
    """
    import os
    from pathlib import Path

    from lading.releases import Candidate
    from lading.targets.connect import connect
    from lading.values import from_json
    from lading.vertex_resources import vertex_resources
    from lading.wait import Deadline

    deployed = from_json(Path(candidate.path).read_text(), Candidate)
    target, deadline = connect(deployed.target, environ=os.environ), Deadline.after(timeout_seconds)
    found = vertex_resources(deployed, target=target, deadline=deadline)
    for artifact, name in ((model, found.model), (endpoint, found.endpoint)):
        artifact.uri, artifact.metadata["resourceName"] = found.base_url + name, name
