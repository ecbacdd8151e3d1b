"""A warehouse stands in its folder: nothing outside of it asks which one it works with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sales_mart
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.base import GROUP, names, open_warehouse, warehouse_class
from support import SERVERS_OF_ANOTHER

if TYPE_CHECKING:
    from sales_mart.servers.local import LocalServers

TESTS = Path(__file__).parent.parent
THIN = """
from sales_mart.warehouses.duckdb import DuckDB


class Thin(DuckDB):
    name = "thin"
    title = "A warehouse of somebody else"
"""
PACKAGE = Path(sales_mart.__file__).parent
# What may know a warehouse by its name: its folder, and the local servers that speak its protocol.
FOLDERS = ("warehouses", "servers")
FEWEST = 20
"""Tests that the suite has at least."""
NAMES = re.compile(r"""Target\.[A-Z]|["'](postgres|bigquery)["']""")


def test_no_module_outside_of_the_warehouses_names_one() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in FOLDERS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if NAMES.search(line)
    ]
    assert found == []


def test_no_warehouse_knows_another() -> None:
    folders = [path for path in (PACKAGE / "warehouses").iterdir() if path.is_dir()]
    known = {path.name for path in folders if (path / "__init__.py").exists()}
    assert known == set(names())
    for name in known:
        for path in (PACKAGE / "warehouses" / name).glob("*.py"):
            text = path.read_text(encoding="utf-8")
            others = [other for other in known - {name} if f"warehouses.{other}" in text]
            assert others == [], path


@pytest.mark.parametrize("name", names())
def test_a_warehouse_is_what_its_entry_point_says(name: str) -> None:
    warehouse = open_warehouse(Config(), name)
    assert warehouse.name == name
    assert warehouse.title
    assert warehouse.next_schema == f"{warehouse.mart_schema}__next"
    section = getattr(Config().data_warehouse, name)
    assert all(isinstance(getattr(section, key), int) for key in warehouse.timeouts)


def test_a_name_that_is_no_warehouse_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'oracle' is not a warehouse") as caught:
        warehouse_class("oracle")
    assert caught.value.remedy == f"The warehouses are {', '.join(names())}."


@pytest.mark.timeout(900)
def test_a_warehouse_in_a_package_of_somebody_else_passes_the_conformance_suite(
    tmp_path: Path, servers: LocalServers
) -> None:
    installed = tmp_path / "site-packages"
    about = installed / "thin_warehouse-1.0.dist-info"
    about.mkdir(parents=True)
    (installed / "thin_warehouse.py").write_text(THIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: thin-warehouse\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\nthin = thin_warehouse:Thin\n")
    options = ["-q", "-p", "no:cacheprovider", "-k", "thin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(TESTS / "conformance")],
        cwd=TESTS.parent,
        env=os.environ
        | {
            "PYTHONPATH": str(installed),
            SERVERS_OF_ANOTHER: json.dumps(asdict(servers), default=str),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout[-2_000:]
    assert int(passed[1]) >= FEWEST
