"""BigQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.address import Address
from sales_mart.warehouses.base import Warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from sales_mart.config import Config
    from sales_mart.lake.records import Load
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import LoadOptions
    from sales_mart.warehouses.base import Findings, Session
    from sales_mart.warehouses.dialect import Dialect
    from sales_mart.warehouses.frames import Place, Rows, TableMode, Written
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.publishing import NextMarts

__all__ = ["BigQuery"]

_TOLD = {
    "location": "location",
    "credentials_path": "credentials_file",
    "maximum_bytes_billed": "maximum_bytes_billed",
    "api_endpoint": "api_endpoint",
}
"""What an address may say besides -> key of the section."""


class BigQuery(Warehouse):
    """A project on BigQuery, or on a server that speaks its API."""

    name = "bigquery"
    title = "BigQuery"
    timeouts = ("request_timeout", "job_timeout")
    packages = ("google-cloud-bigquery", "google-cloud-storage", "dbt-bigquery")
    driver = ("google.cloud.bigquery", "google.cloud.storage")
    adapter = ("dbt.cli", "dbt.adapters.bigquery")

    schemes = ("bigquery",)

    @classmethod
    def at(cls, url: str) -> tuple[Config, str | None]:
        """Return a configuration of a project: `bigquery://project/dataset`, as SQLAlchemy has it.

        Behind a question mark `location`, `credentials_path`, `maximum_bytes_billed` and
        `api_endpoint`.
        """
        from sales_mart.config import Config
        from sales_mart.config.explain import EXPLAINED_LATER

        remedy = "Write it as bigquery://project/dataset."
        parts = urlsplit(url)
        told = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(told.keys() - _TOLD.keys())
        if unknown:
            msg = f"the BigQuery address holds {', '.join(unknown)}, which is not known"
            raise ConfigurationError(msg, remedy=f"It may hold {', '.join(_TOLD)}.")
        dataset = parts.path.strip("/")
        settings: dict[str, Any] = {cls.name: {_TOLD[name]: told[name] for name in told}}
        if parts.netloc:
            settings["project_id"] = parts.netloc
        try:
            tree = {"data_warehouse": settings}
            return Config.model_validate(tree, context=EXPLAINED_LATER), dataset or None
        except ValidationError as error:
            names = ", ".join(str(each["loc"][-1]) for each in error.errors())
            msg = f"the BigQuery address has a wrong {names}"
            raise ConfigurationError(msg, remedy=remedy) from None

    def write_table(self, place: Place, rows: Rows, mode: TableMode) -> Written:
        """Make rows a table's by one load job."""
        from sales_mart.warehouses.bigquery.frames import write_table

        return write_table(self.config, place, rows, mode)

    def read_table(self, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
        """Read a table as it is when the statement begins."""
        from sales_mart.warehouses.bigquery.frames import read_table

        return read_table(self.config, place)

    @property
    def dialect(self) -> Dialect:
        """How its SQL is written."""
        from sales_mart.warehouses.bigquery.dialect import BigQueryDialect

        return BigQueryDialect(self.config.data_warehouse.project_id)

    @property
    def place(self) -> dict[str, str]:
        """What tells its marts apart from those of other configurations."""
        return {"project": self.config.data_warehouse.project_id, "schema": self.mart_schema}

    @property
    def address(self) -> Address:
        """Which project it is."""
        project = self.config.data_warehouse.project_id
        server = {"type": "bigquery", "project": project, "dataset": self.mart_schema}
        return Address(server, "bigquery", project)

    def session(self) -> AbstractContextManager[Session]:
        """Open a client; each statement reads what is there when it begins."""
        from sales_mart.warehouses.bigquery.reader import opened

        return opened(self.config)

    def load(self, run: RunFolder, options: LoadOptions | None = None) -> Load:
        """Load a sealed run by load jobs and one transaction."""
        from sales_mart.warehouses.admission import LoadOptions
        from sales_mart.warehouses.bigquery.load import load

        return load(self.config, run, options or LoadOptions())

    def built_tables(self, named_by_dbt: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - asks the server
        """Return the moments at which the tables were made."""
        from sales_mart.warehouses.bigquery.connection import (
            bigquery_errors,
            built_tables,
            client,
        )

        with bigquery_errors(self.config), client(self.config) as connected:
            return built_tables(connected, self)

    def publish(self, following: NextMarts) -> Publication:
        """Publish the next marts in one transaction."""
        from sales_mart.warehouses.bigquery.publish import publish

        return publish(self, following)

    def check_credentials(self, findings: Findings, origins: Mapping[str, str]) -> None:
        """Say nothing: Google's library finds the credentials."""

    def before_build(self) -> None:
        """Make nothing."""

    def check(self, findings: Findings) -> None:
        """Check that queries run, and where the datasets are."""
        from sales_mart.warehouses.bigquery.check import check

        check(self, findings)

    @classmethod
    def prepare_dbt(cls) -> None:
        """Let the adapter tell HTTP statuses, and no values of rows."""
        from sales_mart.dbt_runner.adapters import replace_bigquery

        replace_bigquery()

    def dbt_environment(self, *, offline: bool) -> dict[str, str]:
        """Return how dbt reaches the project."""
        warehouse = self.config.data_warehouse
        bigquery = warehouse.bigquery
        method = "service-account" if bigquery.credentials_file else "oauth"
        anonymous = offline or self._is_emulator
        known = {"SALES_MART_BIGQUERY_METHOD": "oauth-secrets" if anonymous else method}
        if self._is_emulator:
            # A proxy of the environment is no way to this computer.
            known |= {"NO_PROXY": "*", "no_proxy": "*"}
        settings: Mapping[str, object] = {
            "PROJECT_ID": warehouse.project_id,
            "BIGQUERY__LOCATION": bigquery.location,
            "BIGQUERY__API_ENDPOINT": bigquery.api_endpoint or "",
            "BIGQUERY__CREDENTIALS_FILE": bigquery.credentials_file or "",
            "BIGQUERY__MAXIMUM_BYTES_BILLED": bigquery.maximum_bytes_billed or 0,
            "BIGQUERY__REQUEST_TIMEOUT": bigquery.request_timeout,
            "BIGQUERY__JOB_TIMEOUT": bigquery.job_timeout,
        }
        return known | {
            f"SALES_MART_DATA_WAREHOUSE__{key}": str(value) for key, value in settings.items()
        }

    def dbt_variables(self) -> dict[str, Any]:
        """Return whether the server is a stand-in, which reads no contracts."""
        return {"emulator": self._is_emulator, "integer_type": "int64"}

    @property
    def _is_emulator(self) -> bool:
        from sales_mart.warehouses.bigquery.connection import is_emulator

        return is_emulator(self.config)
