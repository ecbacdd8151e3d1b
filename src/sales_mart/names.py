"""What the tables are called and where they stand: the same words in all warehouses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = [
    "CLEAN_COLUMNS",
    "LOAD_RUNS",
    "PRODUCT_MONTHS",
    "PUBLICATIONS",
    "PUBLISHED_SLICES",
    "STAGING",
    "clean_schema",
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


def clean_schema(max_decimals: int) -> pa.Schema:  # pyright: ignore[reportUnknownParameterType]
    """Arrow schema of a clean Parquet part."""
    return pa.schema(
        [
            pa.field("transaction_id", pa.string(), nullable=False),
            pa.field("product", pa.string()),
            pa.field("price", pa.decimal128(18, max_decimals)),
            pa.field("quantity", pa.int64()),
            pa.field("sale_date", pa.date32(), nullable=False),
            pa.field("source_file", pa.int32(), nullable=False),
            pa.field("source_row", pa.int64(), nullable=False),
        ]
    )


CLEAN_COLUMNS = tuple(clean_schema(0).names)
"""Columns of a clean part, and of the raw tables before the two that tell of the run."""
