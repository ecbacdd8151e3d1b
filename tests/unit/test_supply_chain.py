"""What comes with us: every package by version and hash, under a licence that we may ship."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# Permissive, or copyleft that ends at the package's own files or library.
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0"),
    *("PSF-2.0", "PostgreSQL", "Zlib", "Artistic-1.0-Perl"),
    *("LGPL-3.0-only", "LGPL-3.0-or-later", "MPL-2.0"),
}


def sbom() -> Any:
    """Import the script that writes the bill of materials."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "scripts" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    return module


def pins() -> dict[str, tuple[set[str], list[str]]]:
    """Read the constraints: versions and hashes by name."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    text = (ROOT / "constraints.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z0-9.-]+)==(\S+)(?: ; [^-]*?)?((?:\s+--hash=\S+)*)\s*", line)
        assert match, line
        versions, hashes = found.setdefault(match[1], (set(), []))
        versions.add(match[2])
        hashes += match[3].split()
    return found


def test_every_version_is_pinned_with_its_hashes_and_no_address() -> None:
    for name, (_, hashes) in pins().items():
        assert hashes, name
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for each in hashes), name
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_everything_that_is_asked_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for group in (project["project"]["optional-dependencies"], project["dependency-groups"]):
        asked += [each for group in group.values() for each in group if isinstance(each, str)]
    names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower().replace("_", "-") for each in asked}
    assert names <= pins().keys()


def imported(tree: ast.Module) -> Iterator[str]:
    """Give the modules that a module imports when it runs, from others."""
    typing = [node for node in ast.walk(tree) if ast.unparse(node).startswith("if TYPE_CHECKING:")]
    left_out = {inner for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_what_is_imported_is_asked_for() -> None:
    owners: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.name.lower().replace("_", "-").replace(".", "-")
        for file in distribution.files or ():
            if file.suffix in {".py", ".so"}:
                module = ".".join(file.parts).partition(file.suffix)[0].partition(".cpython")[0]
                owners[module.removesuffix(".__init__")] = name
    used: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for module in imported(ast.parse(path.read_text())):
            parts = module.split(".")
            if parts[0] in sys.stdlib_module_names or parts[0] == "sales_mart":
                continue
            shorter = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
            used.add(next(owners[each] for each in shorter if each in owners))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["testing"]]
    declared = {re.split(r"[^A-Za-z0-9._-]", each)[0] for each in asked}
    assert "google-cloud-bigquery" in used
    assert used - declared == set()


def test_every_licence_of_what_we_ship_may_be_shipped() -> None:
    found = sbom().packages()
    assert len(found) > 100
    pinned = pins()
    for package in found.values():
        # One of the alternatives suffices, all of a combination must do.
        choices = re.sub("[()]", " ", package.licence).split(" OR ")
        parts = [{each.strip() for each in choice.split(" AND ")} for choice in choices]
        assert any(part <= ALLOWED for part in parts), package
        if package.name != "sales-mart":
            assert package.version in pinned[package.name][0], package


def test_the_bill_of_materials_names_all_of_it(tmp_path: Path) -> None:
    script = (sys.executable, str(ROOT / "scripts" / "sbom.py"), str(tmp_path))
    subprocess.run(script, check=True)
    made = json.loads((tmp_path / "sales_mart.cdx.json").read_text())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    components = {each["name"]: each for each in made["components"]}
    assert {"polars", "dbt-core", "psycopg", "bqemulator"} <= components.keys()
    assert "pytest" not in components
    assert components["polars"]["purl"] == f"pkg:pypi/polars@{components['polars']['version']}"
    assert components["polars"]["licenses"] == [{"license": {"id": "MIT"}}]
    [needs] = [each for each in made["dependencies"] if each["ref"] == "sales-mart"]
    assert "polars" in needs["dependsOn"]
    assert "| polars-hash | " in (tmp_path / "licences.md").read_text()


def test_every_action_is_pinned_by_digest_and_may_do_little() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) > 1
    for path in workflows:
        text = path.read_text()
        for used in re.findall(r"uses:\s*(.*)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[0-9.]+", used), (path, used)
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, path
