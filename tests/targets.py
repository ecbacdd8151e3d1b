"""The warehouses that the tests know by name."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """Names of targets, as the product takes and gives them."""

    POSTGRES = "postgres"
    BIGQUERY = "bigquery"
