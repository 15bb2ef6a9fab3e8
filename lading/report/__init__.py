"""Pages for people: the report of a run, and the verdict on a rejected release. Each is one file, whole in itself."""

from lading.report.curl import curl_command
from lading.report.render import render_run, render_verdict

__all__ = ["curl_command", "render_run", "render_verdict"]
