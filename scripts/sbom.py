# ruff: noqa: INP001 - a script, no package
"""What a release is made of: an SBOM (CycloneDX) and a list of licences of all that it installs.

`python scripts/sbom.py FOLDER` writes `sales_mart.cdx.json`, `licences.md` and their texts. They
tell what is installed here, so of this Python version and platform; `constraints.txt` has the
hashes.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "sales-mart"
EXTRAS = frozenset({"api", "azure", "local", "pipeline", "s3", "testing", "workflows"})
"""What `make test` installs: all extras but the client of Kubernetes."""

# What the metadata of packages calls them, by the identifiers of SPDX.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# The metadata says nothing, or more than holds.
_KNOWN = {
    "polars-hash": "MIT",  # in its repository
    "text-unidecode": "Artistic-1.0-Perl",  # or the GPL, as one likes
}

_LICENCE_FILE = re.compile("licen[cs]e|copying|copyright|notice", re.IGNORECASE)


class Package(NamedTuple):
    """An installed package: what it is called, its version, its licence, and what it needs."""

    name: str
    version: str
    licence: str
    needs: tuple[str, ...]


def packages(chosen: frozenset[str] = EXTRAS) -> dict[str, Package]:
    """Find the project and all that it needs at run time with some of its extras, by name."""
    extras: dict[str, set[str]] = {PROJECT: set(chosen)}
    found: dict[str, Package] = {}
    waiting = [PROJECT]
    while waiting:
        name = waiting.pop()
        installed = metadata.distribution(name)
        needs: set[str] = set()
        for requirement in map(Requirement, installed.requires or ()):
            if not _applies(requirement, extras[name]):
                continue
            needed = canonicalize_name(requirement.name)
            needs.add(needed)
            new = requirement.extras - extras.setdefault(needed, set())
            extras[needed] |= new
            if new or needed not in found:
                waiting.append(needed)
        found[name] = Package(name, installed.version, _licence(name), tuple(sorted(needs)))
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _licence(name: str) -> str:
    """Return a package's licence as an expression of SPDX; empty when it names none."""
    if name in _KNOWN:
        return _KNOWN[name]
    said = metadata.metadata(name)
    if expression := said.get_all("License-Expression"):
        return expression[0]
    classified = [
        each.rpartition(" :: ")[2]
        for each in said.get_all("Classifier") or []
        if each.startswith("License :: OSI Approved :: ")
    ]
    first = [text.splitlines()[0] for text in said.get_all("License") or [] if text]
    named = [str(each) for each in classified or first]
    return " OR ".join(_SPDX.get(each, each) for each in named)


def licence_texts(name: str) -> list[str]:
    """Read the texts of licences and notices that a package brings; some bring none."""
    files = metadata.distribution(name).files or ()
    return [
        file.read_text(encoding="utf-8")
        for file in files
        if file.parts[0].endswith(".dist-info") and _LICENCE_FILE.match(file.name)
    ]


def bom(found: dict[str, Package]) -> Any:
    """Put packages into a bill of materials."""
    # Decorators hide the types of these two.
    component: Any = Component
    bill: Any = Bom
    licences = LicenseFactory()
    components: dict[str, Any] = {
        name: component(
            name=name,
            version=package.version,
            bom_ref=name,
            type=ComponentType.APPLICATION if name == PROJECT else ComponentType.LIBRARY,
            purl=PackageURL("pypi", name=name, version=package.version),
            licenses=[licences.make_from_string(package.licence)] if package.licence else [],
        )
        for name, package in found.items()
    }
    made = bill(components=[each for name, each in components.items() if name != PROJECT])
    made.metadata.component = components[PROJECT]
    for name, package in found.items():
        made.register_dependency(components[name], [components[each] for each in package.needs])
    return made


def main(folder: Path) -> None:
    """Write the three files."""
    found = packages()
    folder.mkdir(parents=True, exist_ok=True)
    text = JsonV1Dot6(bom(found)).output_as_string(indent=2)
    (folder / "sales_mart.cdx.json").write_text(f"{text}\n")
    lines = ["| package | version | licence |", "|---|---|---|"]
    lines += [
        f"| {each.name} | {each.version} | {each.licence or 'not named'} |"
        for each in found.values()
    ]
    (folder / "licences.md").write_text("\n".join([*lines, ""]))
    texts = [
        f"===== {each.name} {each.version}: {each.licence}\n\n{text.strip()}\n\n"
        for each in found.values()
        for text in licence_texts(each.name) or ["The package has no text of it."]
    ]
    (folder / "licence-texts.txt").write_text("".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
