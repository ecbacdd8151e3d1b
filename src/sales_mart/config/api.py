"""The section `api`: who may ask `sales-mart serve`, and how much."""

from __future__ import annotations

from pydantic import Field

from sales_mart.config.section import UNSHOWN, Section

__all__ = ["Api"]


class Api(Section):
    """What `sales-mart serve` answers to whom."""

    keys_file: str | None = Field(default=None, json_schema_extra=UNSHOWN)
    """File with the hashes of the clients' keys, as `sales-mart api-key` writes it. Without one,
    only this computer is served."""
    requests_per_minute: int = Field(default=600, ge=1)
    """Requests of one key."""
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    """Rows of one answer; the rest is on further pages."""
    max_queries: int = Field(default=4, ge=1, le=100)
    """Queries that the warehouse works on at once."""
    query_seconds: int = Field(default=30, ge=1)
    """Seconds for one query."""
    refresh_seconds: int = Field(default=10, ge=1)
    """Seconds after which the warehouse is asked what is published now."""
