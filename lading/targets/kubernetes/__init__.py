"""Services on any Kubernetes cluster: a Deployment for each revision, and a Service or an HTTPRoute in front."""
