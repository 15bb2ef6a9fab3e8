"""Vertex AI's own names for what was deployed there."""

from lading.errors import InvalidInput
from lading.releases import Candidate
from lading.targets.base import Target
from lading.targets.vertex.models import Resources
from lading.targets.vertex.target import VertexTarget
from lading.wait import Deadline


def vertex_resources(candidate: Candidate, *, target: Target, deadline: Deadline) -> Resources:
    """The endpoint of a service on Vertex AI, and the version of the model that a revision is.

    Args:
        candidate: What ``deploy`` returned.
        target: Where the service lives.
        deadline: When to give up.

    Raises:
        InvalidInput: it is another target, which has no such things.
        NotFound: the service, or the revision, is gone.
    """
    if not isinstance(target, VertexTarget):
        raise InvalidInput(f"expected a candidate on vertex:PROJECT/REGION, received one on {candidate.target}")
    return target.resources(candidate.service, candidate.revision, deadline=deadline)
