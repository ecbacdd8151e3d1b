"""The section `data_warehouse.duckdb`."""

from __future__ import annotations

from sales_mart.config.section import Section

__all__ = ["DuckDBSettings"]


class DuckDBSettings(Section):
    """Where the DuckDB files are."""

    path: str = "sales.duckdb"
    """File with the published marts, which every publication replaces. The pipeline's own file
    stands beside it, with `.work` behind the name."""
