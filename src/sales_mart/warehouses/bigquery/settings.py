"""The section `data_warehouse.bigquery`."""

from __future__ import annotations

from pydantic import Field

from sales_mart.config.section import UNSHOWN, Section
from sales_mart.config.texts import Address

__all__ = ["BigQuerySettings"]


class BigQuerySettings(Section):
    """How to reach BigQuery."""

    location: str = "US"
    """Location of the datasets."""
    credentials_file: str | None = Field(default=None, json_schema_extra=UNSHOWN)
    """Service account file for BigQuery alone; gs:// has application default credentials.
    Default: those too."""
    api_endpoint: Address | None = None
    """Another endpoint of the API, such as an emulator's."""
    maximum_bytes_billed: int | None = Field(default=None, ge=1)
    """Queries that would bill more bytes are refused by the server."""
    request_timeout: int = Field(default=60, ge=1)
    """Seconds that a request may take, its repetitions while the server is away included."""
    job_timeout: int = Field(default=3600, ge=1)
    """Seconds that one job may take."""
