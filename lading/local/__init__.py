"""The embedded target: the Knative Serving API on loopback, which runs revisions as processes of this machine."""
