"""What `doctor` looks at on BigQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core.exceptions import NotFound
from google.cloud.bigquery import QueryJobConfig

from sales_mart.warehouses.bigquery.connection import bigquery_errors, client, is_emulator

if TYPE_CHECKING:
    from sales_mart.warehouses.base import Findings, Warehouse

__all__ = ["check"]


def check(warehouse: Warehouse, findings: Findings) -> None:
    """Check that queries run, and where the datasets are.

    Raises:
        ConfigurationError: The server refuses something.
        TemporaryError: The server does not answer.
    """
    config = warehouse.config
    settings = config.data_warehouse
    with bigquery_errors(config), client(config) as api:
        job = api.query("select 1", QueryJobConfig(dry_run=True), job_retry=None)
        where = settings.bigquery.api_endpoint if is_emulator(config) else "BigQuery"
        findings.add(
            "bigquery", "ok", f"{where}: queries run in {settings.project_id} ({job.location})"
        )
        for dataset in (warehouse.raw_schema, warehouse.mart_schema, warehouse.next_schema):
            try:
                there = api.get_dataset(f"{settings.project_id}.{dataset}")
            except NotFound:
                findings.add(
                    "bigquery rights",
                    "ok" if is_emulator(config) else "warn",
                    f"dataset {dataset} does not exist yet; the first run makes it",
                    "The account needs bigquery.datasets.create for that.",
                )
                continue
            wanted = settings.bigquery.location
            same = str(there.location or wanted).upper() == wanted.upper()
            findings.add(
                "bigquery rights",
                "ok" if same else "warn",
                f"dataset {dataset} is in {there.location}",
                "" if same else f"Set data_warehouse.bigquery.location, now {wanted}, to that.",
            )
