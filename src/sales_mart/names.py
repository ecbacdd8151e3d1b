"""What the tables are called and where they stand: the same words in all warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.marts import marts_of
from sales_mart.warehouses.base import open_warehouse, warehouse_class

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = [
    "LOAD_RUNS",
    "PRODUCT_MONTHS",
    "PUBLICATIONS",
    "PUBLISHED_SLICES",
    "STAGING",
    "fact_table",
    "mart_schema",
    "next_schema",
    "published_tables",
    "raw_schema",
]

LOAD_RUNS = "load_runs"
"""Every load of a target, beside the raw table."""
PUBLICATIONS = "publications"
"""Every publication of a target, beside the raw table."""
PUBLISHED_SLICES = "published_slices"
"""Rows, sums and checksum of every slice of the published marts, beside the raw table."""
STAGING = "stg_transactions"
"""The staging view, beside the raw table."""
PRODUCT_MONTHS = "sales_by_product_month"
"""Exact sums by product and month, beside the raw table: what the product marts add up."""


def raw_schema(config: Config) -> str:
    """Name of the private schema, or dataset, of the raw tables."""
    return config.data_warehouse.dataset


def mart_schema(config: Config, target: str) -> str:
    """Name of the schema or dataset that readers look at."""
    return open_warehouse(config, target).mart_schema


def next_schema(config: Config, target: str) -> str:
    """Name of the schema or dataset where the next marts are built and tested."""
    return open_warehouse(config, target).next_schema


def fact_table(target: str) -> str:
    """Name of the fact table."""
    return warehouse_class(target).fact_table


def published_tables(config: Config, target: str) -> dict[str, tuple[str, str]]:
    """Tables that `publish` makes current: name -> (schema or dataset, column of its window).

    The column is what a window of sale dates selects: the date itself, the month's first day, or
    an empty string for a table that is small and replaced whole.
    """
    schemas = {"mart": mart_schema(config, target), "private": raw_schema(config)}
    return {
        mart.name: (schemas[mart.publish], mart.slice or "")
        for mart in marts_of(open_warehouse(config, target))
    }
