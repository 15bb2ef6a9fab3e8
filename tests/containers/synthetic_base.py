"""An image of a few small files, for what reads bases."""

from pathlib import Path

from lading.oci.assemble import Base, Changes, assemble, publish
from lading.oci.image import Image
from lading.oci.layer import Entry, plan_entries
from lading.oci.layout import Layout
from lading.wait import Deadline


def write_base(directory: Path, *layers: dict[str, str], architecture: str = "amd64") -> None:
    """Write an image with these files, layer by layer, as the only one of a layout."""
    store = Layout(directory)
    planned = [plan_entries([Entry(name, text.encode()) for name, text in files.items()]) for files in layers]
    nothing = Base(store, "", Image({"architecture": architecture, "os": "linux"}))
    publish(assemble(nothing, planned, Changes()), store, deadline=Deadline.after(20))
