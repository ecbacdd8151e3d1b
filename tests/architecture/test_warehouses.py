"""A warehouse stands in its folder: nothing outside of it asks which one it works with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sales_mart
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.base import names, open_warehouse, warehouse_class

PACKAGE = Path(sales_mart.__file__).parent
# What may know a warehouse by its name: its folder, and the local servers that speak its protocol.
FOLDERS = ("warehouses", "servers")
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
