"""The configuration: the model, and beside it how a file and the environment become one."""

from __future__ import annotations

from sales_mart.config.model import FIELDS, MARTS, Config, DataMart, Postgres, Security, Validation

__all__ = ["FIELDS", "MARTS", "Config", "DataMart", "Postgres", "Security", "Validation"]
