"""Packages as their own files describe them: Python's ``dist-info`` and Debian's ``dpkg``.

Sources: Python packaging, "Core metadata specifications"; Debian Policy 5.3 (control files) and "Machine-readable
debian/copyright file" 1.0; package-url specification, types ``pypi`` and ``deb``; ``os-release(5)``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from urllib.parse import quote

PYTHON = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)")
DEBIAN = re.compile(r"var/lib/dpkg/(?:status|status\.d/[^/]+(?<!\.md5sums))")
COPYRIGHT = re.compile(r"usr/share/doc/([^/]+)/copyright")
OS_RELEASE = frozenset({"etc/os-release", "usr/lib/os-release"})

_LONGEST_LICENCE = 120  # a name; some put the whole text there
_FORMAT = "packaging-manuals/copyright-format/1.0"
_LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.M)


@dataclass(frozen=True)
class Package:
    """A package that is installed in an image."""

    name: str
    version: str
    purl: str
    """Package URL: ``pkg:pypi/numpy@2.2.1``."""
    path: str
    """The file that says so."""
    expression: str = ""
    """Its licence as an SPDX expression, where the package gives one."""
    licences: tuple[str, ...] = ()
    """Else the names of its licences, as it gives them."""


@dataclass(frozen=True)
class Distribution:
    """Of which Linux distribution an image is."""

    id: str = ""
    """``debian``, ``ubuntu``; empty when the image does not say."""
    version: str = ""
    """``12``."""
    name: str = ""
    """As people call it."""


def python_package(metadata: bytes, path: str) -> Package | None:
    """Read ``METADATA`` or ``PKG-INFO``; None when it names no package."""
    fields = BytesHeaderParser().parsebytes(metadata)
    name, version = str(fields.get("Name", "")).strip(), str(fields.get("Version", "")).strip()
    if not name or not version:
        return None
    expression = str(fields.get("License-Expression", "")).strip()
    classifiers = [str(one) for one in fields.get_all("Classifier", [])]
    # "License :: OSI Approved" alone is a heading.
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ") and one.count("::") > 1]
    said = str(fields.get("License", "")).strip().partition("\n")[0].strip()
    licences = named or ([said] if said and said != "UNKNOWN" else [])
    normal = re.sub(r"[-_.]+", "-", name).lower()
    return Package(
        name,
        version,
        f"pkg:pypi/{quote(normal, safe='')}@{quote(version, safe=':')}",
        path,
        expression,
        tuple(dict.fromkeys(licence[:_LONGEST_LICENCE] for licence in licences)),
    )


def debian_packages(control: str, path: str) -> Iterator[Mapping[str, str]]:
    """The fields of each installed package of a ``status`` file, or of the one in a file of ``status.d``."""
    for paragraph in re.split(r"\n[ \t]*\n", control):
        lines = re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", paragraph, re.M)
        fields = {"Path": path, **dict(lines)}
        installed = fields.get("Status", "install ok installed").endswith(" installed")
        if installed and fields.get("Package") and fields.get("Version"):
            yield fields


def debian_package(fields: Mapping[str, str], distribution: Distribution, licences: tuple[str, ...]) -> Package:
    """A package of ``dpkg``, by the fields of its paragraph."""
    name, version, architecture = fields["Package"], fields["Version"], fields.get("Architecture", "")
    kind = distribution.id or "debian"
    release = f"{kind}-{distribution.version}" if distribution.version else ""
    qualifiers = [("arch", architecture), ("distro", release)]
    tail = "&".join(f"{key}={quote(value, safe=':')}" for key, value in qualifiers if value)
    purl = f"pkg:deb/{kind}/{quote(name.lower(), safe='')}@{quote(version, safe=':')}" + (f"?{tail}" if tail else "")
    return Package(name, version, purl, fields["Path"], licences=licences)


def debian_licences(text: str) -> tuple[str, ...]:
    """The short names of the licences in a machine-readable ``copyright``; none of any other."""
    if _FORMAT not in text[:2000]:
        return ()
    found = (line.strip()[:_LONGEST_LICENCE] for line in _LICENCE.findall(text))
    return tuple(dict.fromkeys(found))


def read_os_release(text: str) -> Distribution:
    """Read ``os-release``."""
    fields = {key: value.strip().strip("\"'") for key, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.M)}
    return Distribution(fields.get("ID", ""), fields.get("VERSION_ID", ""), fields.get("PRETTY_NAME", ""))
