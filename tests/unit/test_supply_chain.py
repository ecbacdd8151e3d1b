"""What comes with us: every package by version and hash, under a licence that we may ship."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import sales_mart

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
    assert names - {"sales-mart"} <= pins().keys()


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a module imports when it runs, from others."""
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
    asked = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        asked += extra
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
    assert {"polars", "dbt-core", "dbt-duckdb", "psycopg", "bqemulator"} <= components.keys()
    assert "pytest" not in components
    assert components["polars"]["purl"] == f"pkg:pypi/polars@{components['polars']['version']}"
    assert components["polars"]["licenses"] == [{"license": {"id": "MIT"}}]
    [needs] = [each for each in made["dependencies"] if each["ref"] == "sales-mart"]
    assert "polars" in needs["dependsOn"]
    assert "| polars-hash | " in (tmp_path / "licences.md").read_text()
    texts = (tmp_path / "licence-texts.txt").read_text()
    headings = set(re.findall("^===== (\\S+) ", texts, re.MULTILINE))
    assert headings == {"sales-mart", *components}
    assert (ROOT / "LICENSE").read_text().strip() in texts
    assert texts.count("The package has no text of it.") < 10


def test_every_action_is_pinned_by_digest_and_may_do_little() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) > 1
    for path in workflows:
        text = path.read_text()
        for used in re.findall(r"uses:\s*(.*)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[0-9.]+", used), (path, used)
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, path


def test_no_job_gives_itself_more_rights_than_the_release_needs() -> None:
    found: dict[tuple[str, str], Any] = {}
    for path in (ROOT / ".github" / "workflows").iterdir():
        workflow = yaml.safe_load(path.read_text())
        # YAML takes `on` for a truth value. These run a stranger's change with our rights.
        assert not {"pull_request_target", "workflow_run"} & set(workflow[True]), path
        for name, job in workflow["jobs"].items():
            if "permissions" in job:
                found[path.name, name] = job["permissions"]
                # Who may write runs nothing of the repository, so no change of it can use that.
                assert not [each for each in job["steps"] if "checkout" in each.get("uses", "")]
    assert found == {("release.yml", "attach"): {"contents": "write"}}


# --- keys and passwords

PLANTED = {
    "nothing": "",
    "an access key": f'key = "{"AKIA" + "Q7" * 8}"\n',
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----\n",
    "a password in an address": "url = 'postgresql://me:" + "Tr0ub4dor3@server/db'\n",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_secret_is_found_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    """As the continuous integration looks for it, in a checkout of its own and without network."""
    assert "\nmake --no-print-directory secrets\n" in (ROOT / ".ci" / "run").read_text()
    listed = json.loads((ROOT / ".secrets.baseline").read_text())["results"]
    for each in ("Makefile", ".secrets.baseline", *listed):
        copy = tmp_path / each
        copy.parent.mkdir(parents=True, exist_ok=True)
        # What is known to be none may stand on another line than when it was looked at.
        blank = "\n" if copy.suffix == ".py" else ""
        copy.write_text(blank + (ROOT / each).read_text())
    (tmp_path / "planted.py").write_text(PLANTED[name])
    for arguments in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    before = (tmp_path / ".secrets.baseline").read_bytes()
    stamp = f"{sys.prefix}/.dev"
    done = subprocess.run(
        ["make", "secrets", f"VENV={sys.prefix}", "-o", stamp],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "https_proxy": "http://127.0.0.1:9"},
    )
    assert (done.returncode == 0) == (name == "nothing"), done.stdout + done.stderr
    assert ("planted.py:1" in done.stdout) == (name != "nothing")
    assert (tmp_path / ".secrets.baseline").read_bytes() == before


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts" / "sales-mart" / "Chart.yaml").read_text())
    image = re.findall(r"sales-mart:(\S+)|ARG VERSION=(\S+)", (ROOT / "Dockerfile").read_text())
    elsewhere = {chart["version"], chart["appVersion"], *filter(None, sum(image, ()))}
    assert elsewhere == {version, sales_mart.__version__} == {version}
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()
