"""Targets by name: ``scheme:place``."""

import re
from dataclasses import dataclass

from lading.errors import InvalidReference


@dataclass(frozen=True)
class TargetRef:
    """A target by name: ``scheme:place``."""

    scheme: str
    place: str

    @classmethod
    def parse(cls, text: str) -> "TargetRef":
        """Read a target such as ``local:`` or ``cloudrun:PROJECT/REGION``.

        Raises:
            InvalidReference: the scheme is unknown, or the place is not one of it.
        """
        scheme, colon, place = text.partition(":")
        if not colon or scheme not in _FORMS or not _FORMS[scheme][1].fullmatch(place):
            known = ", ".join(f"{name}:{form}" for name, (form, _) in _FORMS.items())
            raise InvalidReference(f"expected a target ({known}), received {text!r}")
        return cls(scheme, place)


_TWO_PARTS = re.compile(r"[^/]+/[^/]+")
_ONE_PART = re.compile(r"[^/]+")
_FORMS = {
    "local": ("", re.compile("")),
    "cloudrun": ("PROJECT/REGION", _TWO_PARTS),
    "knative": ("NAMESPACE", _ONE_PART),
    "kubernetes": ("NAMESPACE", _ONE_PART),
    "vertex": ("PROJECT/REGION", _TWO_PARTS),
}
