"""sales_mart installs beside what people have already; asked of the package index, if there is one.

A resolver finds versions that suit both, and nothing is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.index

ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 32
BESIDE = (
    "pandas>=2.2,<3",
    "pandas>=3",
    "apache-airflow>=3.1",
    "dagster>=1.13",
    "sqlmesh>=0.230",
    "dlt>=1.30",
    "dbt-core>=1.11,<1.12",
    "dbt-core>=1.12,<1.13",
)


def resolve(folder: Path, beside: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Find versions for sales_mart with some extras, and for a requirement."""
    other = folder / "requirements.in"
    other.write_text(f"{beside}\n")
    return subprocess.run(
        [
            *(f"{sys.prefix}/bin/uv", "pip", "compile", str(ROOT / "pyproject.toml"), str(other)),
            *("--no-header", "--no-annotate", "--quiet", *options),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )


def names(found: subprocess.CompletedProcess[str]) -> set[str]:
    """Read which packages would be installed."""
    assert found.returncode == 0, found.stderr
    return set(re.findall(r"^([a-z0-9.-]+)==", found.stdout, re.MULTILINE))


@pytest.mark.parametrize("beside", BESIDE)
def test_the_pipeline_can_be_installed_beside(tmp_path: Path, beside: str) -> None:
    found = names(resolve(tmp_path, beside, "--extra", "pipeline", "--python-version", "3.11"))
    assert {re.split("[<>]", beside)[0], "polars", "dbt-bigquery", "dbt-duckdb"} <= found


def test_all_extras_can_be_installed_together(tmp_path: Path) -> None:
    found = names(resolve(tmp_path, "", "--extra", "all", "--python-version", "3.13"))
    assert {"bqemulator", "dbt-core", "hera", "hypothesis", "kubernetes"} <= found


def test_the_core_stays_small(tmp_path: Path) -> None:
    # The resolver leaves out sales_mart itself.
    assert len(names(resolve(tmp_path, "", "--python-version", "3.11"))) < MOST_PACKAGES


def test_a_clash_is_noticed(tmp_path: Path) -> None:
    found = resolve(tmp_path, "polars<2", "--python-version", "3.11")
    assert "polars" in found.stderr
    assert found.returncode != 0
