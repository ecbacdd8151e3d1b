"""PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sales_mart.warehouses.address import Address
from sales_mart.warehouses.base import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
    from sales_mart.warehouses.windows import Window

__all__ = ["PostgreSQL"]


class PostgreSQL(Warehouse):
    """A PostgreSQL database."""

    name = "postgres"
    title = "PostgreSQL"
    published_as = "view"
    fact_table = "pg_sales"  # analysts know it by this name
    timeouts = ("connect_timeout", "statement_timeout")
    packages = ("psycopg", "pgpq", "dbt-postgres")
    driver = ("psycopg", "pgpq")
    adapter = ("dbt.cli", "dbt.adapters.postgres")
    secrets: ClassVar[Mapping[str, str]] = {
        "POSTGRES_USER": "user",
        "POSTGRES_PASSWORD": "password",
    }
    schemes = ("postgresql", "postgres")

    @classmethod
    def at(cls, url: str) -> tuple[Config, str | None]:
        """Return a configuration of a server, whose user and password go before all others."""
        from sales_mart.warehouses.postgres.credentials import config_of

        return config_of(url), None

    @property
    def default_schema(self) -> str:
        """Name of the schema that PostgreSQL looks into."""
        return "public"

    def write_table(self, place: Place, rows: Rows, mode: TableMode) -> Written:
        """Make rows a table's by COPY."""
        from sales_mart.warehouses.postgres.frames import write_table

        return write_table(self.config, place, rows, mode)

    def read_table(self, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
        """Read a table of one snapshot."""
        from sales_mart.warehouses.postgres.frames import read_table

        return read_table(self.config, place)

    @property
    def dialect(self) -> Dialect:
        """How its SQL is written."""
        from sales_mart.warehouses.postgres.dialect import PostgresDialect

        return PostgresDialect()

    @property
    def mart_schema(self) -> str:
        """Name of the schema that readers look at."""
        return self.config.data_mart.postgres_schema

    @property
    def place(self) -> dict[str, str]:
        """What tells its marts apart from those of other configurations."""
        return {"database": self.config.data_warehouse.postgres.dbname, "schema": self.mart_schema}

    @property
    def address(self) -> Address:
        """Where it is; of several hosts the first one, of a socket this computer."""
        settings = self.config.data_warehouse.postgres
        first = settings.host.split(",")[0].strip()
        host = "localhost" if first.startswith(("/", "@")) else first or "localhost"
        server = {
            "type": "postgres",
            "host": host,
            "port": settings.port,
            "database": settings.dbname,
            "schema": self.mart_schema,
        }
        authority = f"[{host}]" if ":" in host else host
        return Address(server, f"postgres://{authority}:{settings.port}", settings.dbname)

    def session(self) -> AbstractContextManager[Session]:
        """Open a transaction that reads one snapshot and changes nothing."""
        from sales_mart.warehouses.postgres.reader import snapshot

        return snapshot(self.config)

    def load(self, run: RunFolder, options: LoadOptions | None = None) -> Load:
        """Load a sealed run in one transaction."""
        from sales_mart.warehouses.admission import LoadOptions
        from sales_mart.warehouses.postgres.load import load

        return load(self.config, run, options or LoadOptions())

    def built_tables(self, named_by_dbt: Mapping[str, str]) -> dict[str, str]:
        """Return the numbers of the tables, which dbt's process found under the schema's lock."""
        return dict(named_by_dbt)

    def publish(self, following: NextMarts) -> Publication:
        """Publish the next marts in one transaction."""
        from sales_mart.warehouses.postgres.publish import publish

        return publish(self, following)

    def check(self, findings: Findings) -> None:
        """Check version, encryption and rights."""
        from sales_mart.warehouses.postgres.check import check

        check(self, findings)

    def login(self) -> tuple[str | None, str] | None:
        """Return the user, and where it comes from."""
        from sales_mart.errors import ConfigurationError
        from sales_mart.warehouses.postgres.credentials import find_login

        try:
            found = find_login(self.config)
        except ConfigurationError as error:
            return None, error.message
        return found.user, found.origin

    def check_credentials(self, findings: Findings, origins: Mapping[str, str]) -> None:
        """Say where user and password come from, and warn where they stand in the file."""
        from sales_mart.warehouses.postgres.credentials import check_credentials

        check_credentials(self, findings, origins)

    def before_build(self) -> None:
        """Make the table that dbt's process locks, and room for the next marts."""
        from sales_mart.warehouses.postgres.connection import connect, ensure_lock
        from sales_mart.warehouses.postgres.former_versions import drop_former_versions

        with connect(self.config) as connection:
            ensure_lock(connection, self.next_schema)
        drop_former_versions(self)

    def after_build(self, window: Window) -> None:
        """Make tables that were built whole ready to be attached."""
        from sales_mart.warehouses.postgres.publish import prepare

        if window is None:
            prepare(self)

    @classmethod
    def prepare_dbt(cls) -> None:
        """Let the adapter tell SQLSTATEs, and no values of rows."""
        from sales_mart.dbt_runner.adapters import replace_postgres

        replace_postgres()

    @classmethod
    def keep_others_out(
        cls, schema: str | None
    ) -> AbstractContextManager[Callable[[], dict[str, str]]]:
        """Hold a lock on the schema's name, and tell the numbers of the tables in it."""
        from sales_mart.dbt_runner.worker import alone_in

        return alone_in(schema)

    def dbt_environment(self, *, offline: bool) -> dict[str, str]:
        """Return how dbt reaches the server."""
        from sales_mart.warehouses.postgres.credentials import credentials, sslmode

        known: dict[str, str] = {}
        if not offline:
            user, password = credentials(self.config)
            known = {"POSTGRES_USER": user, "POSTGRES_PASSWORD": password.get_secret_value()}
        postgres = self.config.data_warehouse.postgres
        settings: Mapping[str, object] = {
            "HOST": postgres.host,
            "PORT": postgres.port,
            "DBNAME": postgres.dbname,
            "SSLMODE": sslmode(postgres),
            "CONNECT_TIMEOUT": postgres.connect_timeout,
            "STATEMENT_TIMEOUT": postgres.statement_timeout,
            "LOCK_TIMEOUT": self.config.data_warehouse.lock_timeout,
            "APPLICATION_NAME": postgres.application_name,
        }
        return known | {
            f"SALES_MART_DATA_WAREHOUSE__POSTGRES__{key}": str(value)
            for key, value in settings.items()
        }
