"""DuckDB: two files, and no server.

Readers open the file of the published marts, and finish on the one that they opened when a run
replaces it. Everything else is in the pipeline's own file, which one process opens at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.address import Address
from sales_mart.warehouses.base import Warehouse
from sales_mart.warehouses.duckdb.settings import DuckDBSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from sales_mart.config import Config
    from sales_mart.config.section import Section
    from sales_mart.lake.records import Load
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import LoadOptions
    from sales_mart.warehouses.base import Findings, Session
    from sales_mart.warehouses.dialect import Dialect
    from sales_mart.warehouses.frames import Place, Rows, TableMode, Written
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.publishing import NextMarts

__all__ = ["DuckDB"]


class DuckDB(Warehouse):
    """Two files on this computer."""

    name = "duckdb"
    title = "DuckDB"
    packages = ("duckdb", "dbt-duckdb")
    driver = ("duckdb",)
    adapter = ("dbt.cli", "dbt.adapters.duckdb")
    is_shared = False
    schemes = ("duckdb",)

    @classmethod
    def at(cls, url: str) -> tuple[Config, str | None]:
        """Return a configuration of a file: `duckdb:///file.duckdb`, `duckdb:////folder/file`."""
        from sales_mart.config import Config

        path = unquote(urlsplit(url).path)[1:]
        if not path or urlsplit(url).netloc:
            msg = "the address names no DuckDB file"
            raise ConfigurationError(msg, remedy="Write it as duckdb:///file.duckdb.")
        return Config.model_validate({"data_warehouse": {cls.name: {"path": path}}}), None

    @property
    def default_schema(self) -> str:
        """Name of the schema that DuckDB looks into."""
        return "main"

    def write_table(self, place: Place, rows: Rows, mode: TableMode) -> Written:
        """Make rows a table's in the file that readers open."""
        from sales_mart.warehouses.duckdb.frames import write_table

        return write_table(self, place, rows, mode)

    def read_table(self, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
        """Read a table of the file that readers open."""
        from sales_mart.warehouses.duckdb.frames import read_table

        return read_table(self, place)

    @classmethod
    def section(cls) -> type[Section]:
        """Return the class of the section `data_warehouse.duckdb`."""
        return DuckDBSettings

    @property
    def path(self) -> Path:
        """The file of the published marts."""
        settings: DuckDBSettings = getattr(self.config.data_warehouse, self.name)
        return Path(settings.path).expanduser().absolute()

    @property
    def work(self) -> Path:
        """The pipeline's own file."""
        return self.path.with_name(f"{self.path.name}.work")

    @property
    def dialect(self) -> Dialect:
        """How its SQL is written."""
        from sales_mart.warehouses.duckdb.dialect import DuckDBDialect

        return DuckDBDialect(self.raw_schema, self.mart_schema, self.config.data_warehouse.table)

    @property
    def place(self) -> dict[str, str]:
        """What tells its marts apart from those of other configurations."""
        return {"file": self.path.name, "schema": self.mart_schema}

    @property
    def address(self) -> Address:
        """Which file it is, without the folders of this computer."""
        server = {"type": "duckdb", "database": self.path.name, "schema": self.mart_schema}
        return Address(server, f"duckdb://{self.path.name}", self.path.stem)

    def session(self) -> AbstractContextManager[Session]:
        """Open both files and one transaction, alone."""
        from sales_mart.warehouses.duckdb.connection import snapshot

        return snapshot(self)

    def reader(self) -> AbstractContextManager[Session]:
        """Open the file of the published marts, and not the pipeline's own."""
        from sales_mart.warehouses.duckdb.connection import published_only

        return published_only(self)

    def load(self, run: RunFolder, options: LoadOptions | None = None) -> Load:
        """Load a sealed run in one transaction."""
        from sales_mart.warehouses.admission import LoadOptions
        from sales_mart.warehouses.duckdb.load import load

        return load(self, run, options or LoadOptions())

    def before_build(self) -> None:
        """Copy what dbt reads of the published marts to where it does."""
        from sales_mart.warehouses.duckdb.publish import copy_published

        copy_published(self)

    def built_tables(self, named_by_dbt: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - asks the file
        """Return the rows and a checksum of each next mart: the same content is the same mart."""
        from sales_mart.warehouses.duckdb.publish import built_tables

        with self.session() as session:
            return built_tables(session)

    def publish(self, following: NextMarts) -> Publication:
        """Publish the next marts by a new file, which takes the place of the old one."""
        from sales_mart.warehouses.duckdb.publish import publish

        return publish(self, following)

    def check_credentials(self, findings: Findings, origins: Mapping[str, str]) -> None:
        """Say nothing: files have no users."""

    def check(self, findings: Findings) -> None:
        """Check that the files can be opened and written."""
        from sales_mart.warehouses.duckdb.connection import check

        check(self, findings)

    def dbt_environment(self, *, offline: bool) -> dict[str, str]:  # noqa: ARG002 - there are no credentials
        """Return where dbt finds the pipeline's own file."""
        return {"SALES_MART_DUCKDB_WORK": str(self.work)}
