"""What the tables are called and where they stand: the same words in all warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = [
    "LOAD_RUNS",
    "PRODUCT_MONTHS",
    "PUBLICATIONS",
    "PUBLISHED_SLICES",
    "STAGING",
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
