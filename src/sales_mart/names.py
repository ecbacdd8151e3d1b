"""What tables and their columns are called, and where they stand: the same in all warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = [
    "LOAD_RUNS",
    "MART_NAMES",
    "PRODUCT_MONTHS",
    "PUBLICATIONS",
    "PUBLISHED_SLICES",
    "QUALITY_HISTORY",
    "RETURNED",
    "STAGING",
    "STAGING_FLAGS",
    "raw_schema",
]

LOAD_RUNS = "load_runs"
"""Every load of a target, beside the raw table."""
PUBLICATIONS = "publications"
"""Every publication of a target, beside the raw table."""
PUBLISHED_SLICES = "published_slices"
"""Rows, sums and checksum of every slice of the published marts, beside the raw table."""
QUALITY_HISTORY = "quality_history"
"""Rejected rows of every run that the marts show, by reason, beside the marts."""
STAGING = "stg_transactions"
"""The staging view, beside the raw table."""
PRODUCT_MONTHS = "sales_by_product_month"
"""Exact sums by product and month, beside the raw table: what the product marts add up."""
STAGING_FLAGS = {
    "missing_product": "is_missing_product",
    "missing_price": "is_missing_price",
    "missing_quantity": "is_missing_quantity",
    "product_prefix": "is_wrong_prefix",
    "price_too_low": "is_price_too_low",
    "quantity_range": "is_quantity_out_of_range",
}
"""Reasons that keep a valid row out of the marts: code -> column of the staging view."""
RETURNED = ("returned_amount", "returned_quantity")
"""The last columns of the marts with sums, where there are returns."""
MART_NAMES = frozenset(
    {
        *("dimension", "value", "total_amount", "total_quantity", "total_price"),
        *("transaction_count", "avg_price", *RETURNED),
    }
)
"""What a currency may not be called either, since it stands in every mart beside them."""


def raw_schema(config: Config) -> str:
    """Name of the private schema, or dataset, of the raw tables."""
    return config.data_warehouse.dataset
