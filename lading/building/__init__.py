"""Cloud Build: images of Dockerfiles, built elsewhere."""
