"""What to do about errors of platforms with the Knative Serving API."""

import re

from lading.errors import AccessDenied, LadingError, NotFound, QuotaExceeded, ServiceUnreachable
from lading.targets.advice import Advice, cluster_advice

_NOT_ENABLED = re.compile("has not been used in project|SERVICE_DISABLED|it is disabled", re.IGNORECASE)
_ACT_AS = re.compile(r"iam\.serviceaccounts?\.actAs", re.IGNORECASE)
_ORGANIZATION = re.compile("permitted customer|organization policy", re.IGNORECASE)
_POLICY = re.compile("IamPolicy", re.IGNORECASE)


def cloud_run_advice(project: str, region: str) -> Advice:
    """About errors of the Cloud Run Admin API.

    Roles: https://cloud.google.com/run/docs/reference/iam/roles.
    """

    def advise(method: str, error: LadingError) -> str:
        words = str(error)
        if isinstance(error, ServiceUnreachable):
            return f"is {region} a region of Cloud Run? `gcloud run regions list`"
        if isinstance(error, QuotaExceeded):
            return f"wait a minute, or ask for more: `gcloud services list --project {project}` and its quotas page"
        if _ORGANIZATION.search(words):
            return (
                "the organization forbids services that are open to everyone (iam.allowedPolicyMemberDomains): keep it "
                "private, or ask its administrator for an exception"
            )
        if not isinstance(error, AccessDenied):
            return ""
        if error.status == 401:
            return (
                "the access token is missing, wrong or has expired: `gcloud auth application-default login`, "
                "a service account's key in GOOGLE_APPLICATION_CREDENTIALS, or a new CLOUDSDK_AUTH_ACCESS_TOKEN"
            )
        if _NOT_ENABLED.search(words):
            return f"`gcloud services enable run.googleapis.com --project {project}`, then wait a minute"
        if _ACT_AS.search(words):
            return (
                "whoever deploys needs roles/iam.serviceAccountUser on the service account that the service runs as "
                f"(setting service_account; by default the Compute Engine one of {project})"
            )
        if _POLICY.search(words):
            return f"to open or close a service needs roles/run.admin in project {project}"
        role = "roles/run.viewer" if method == "GET" else "roles/run.admin (or roles/run.developer)"
        return (
            f"it needs {role} in project {project}, and roles/iam.serviceAccountUser to deploy; is the project right?"
        )

    return advise


def knative_advice(namespace: str) -> Advice:
    """About errors of the API server of a cluster with Knative Serving."""

    def advise(method: str, error: LadingError) -> str:
        if isinstance(error, NotFound) and method == "POST":
            return (
                f"does namespace {namespace} exist, and is Knative Serving installed? "
                "`kubectl get crd services.serving.knative.dev`"
            )
        role = (
            f"it needs a role for services and revisions of serving.knative.dev in namespace {namespace}: "
            f"`kubectl auth can-i create services.serving.knative.dev -n {namespace}`"
        )
        return cluster_advice(error, role=role)

    return advise


def ingress_advice(method: str, error: LadingError) -> str:
    """About a service of a cluster that cannot be reached by its URL."""
    if isinstance(error, ServiceUnreachable):
        return (
            "where its name leads nowhere from here, --ingress HOST:PORT (or LADING_KNATIVE_INGRESS) says where the "
            "ingress is"
        )
    return ""
