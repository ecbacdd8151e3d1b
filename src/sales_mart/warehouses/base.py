"""What a warehouse is: the one interface behind which each of them stands.

A warehouse is a folder beside this module, or a package of somebody else's, whose class is an entry
point of the group `sales_mart.warehouses`. Its name there is the name of the target. The class
imports its server's libraries where it uses them, so that it costs little to look at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sales_mart.errors import ConfigurationError
from sales_mart.extras import need
from sales_mart.warehouses.address import Addressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from importlib.metadata import EntryPoint

    import pyarrow as pa

    from sales_mart.config import Config
    from sales_mart.config.section import Section
    from sales_mart.lake.records import Load
    from sales_mart.lake.runs import RunFolder
    from sales_mart.marts import Mart
    from sales_mart.warehouses.admission import LoadOptions
    from sales_mart.warehouses.dialect import Dialect
    from sales_mart.warehouses.frames import Place, Rows, TableMode, Written
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.publishing import NextMarts
    from sales_mart.warehouses.windows import Window

__all__ = [
    "DEFAULT_TARGETS",
    "RENAMED_KEYS",
    "Findings",
    "Session",
    "Warehouse",
    "check_installed",
    "names",
    "open_warehouse",
    "shared_warehouses",
    "warehouse_class",
]

GROUP = "sales_mart.warehouses"
"""Group of the entry points: name of the target -> class."""
DEFAULT_TARGETS = ("postgres", "bigquery")
"""Targets of a configuration that names none. They come first wherever targets are listed."""
RENAMED_KEYS = {
    ("data_warehouse", "postgres", "lock_timeout"): ("data_warehouse", "lock_timeout"),
}
"""Keys of earlier versions -> where they stand now."""


class Session(ABC):
    """A connection to read by: what it reads is of one moment, where the server can do that.

    Errors are ours, without values of rows.
    """

    warehouse: Warehouse

    @abstractmethod
    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and give its rows."""

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and fetch its rows page by page as they are taken.

        A server that fails in between raises one of our errors.
        """
        return self.query(sql)

    @abstractmethod
    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns; none when there is no such table."""

    def exists(self, schema: str, table: str) -> bool:
        """Return whether there is a table of this name."""
        return bool(self.columns(schema, table))


class Findings(Protocol):
    """Takes what `doctor` is told."""

    def add(self, name: str, status: Any, message: str, remedy: str = "") -> None:
        """Take one finding: what was looked at, `ok` or `warn`, and what to do about it."""
        ...

    def about(self, name: str) -> AbstractContextManager[None]:
        """Take an error of ours that ends the context as a failed check."""
        ...


class Warehouse(Addressed):
    """One warehouse, under one configuration.

    Attributes:
        name: Name of the target, as configurations and records have it.
        title: Name of the product, for people.
        fact_table: Name of the fact table.
        timeouts: Keys of the warehouse's section that hold seconds.
        packages: Distributions whose versions `doctor` names.
        driver: Modules that the extra of its name installs. None where the warehouse comes in a
            package of somebody else's, which requires what it needs.
        adapter: Modules that the extra `pipeline-<name>` installs besides; likewise.
        secrets: Environment variables that hold a secret -> key of the Kubernetes secret.
        is_shared: Whether several computers reach it, such as the pods of a workflow.
        schemes: What an address of one begins with, before `://` or `+<driver>://`.
        published_as: What a published mart is to a reader: `table` or `view`.
        config: The configuration.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fact_table: ClassVar[str] = "fact_sales"
    timeouts: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    driver: ClassVar[tuple[str, ...]] = ()
    adapter: ClassVar[tuple[str, ...]] = ()
    secrets: ClassVar[Mapping[str, str]] = {}
    is_shared: ClassVar[bool] = True
    schemes: ClassVar[tuple[str, ...]] = ()
    published_as: ClassVar[str] = "table"

    def __init__(self, config: Config) -> None:
        """Take the configuration; nothing is opened."""
        self.config = config

    @classmethod
    def section(cls) -> type[Section] | None:
        """Return the class of the section `data_warehouse.<name>`; None where the model has it."""
        return None

    @classmethod
    def at(cls, url: str) -> tuple[Config, str | None]:  # noqa: ARG003 - for subclasses
        """Return a configuration that points at an address, and the schema that it names.

        Raises:
            ConfigurationError: The address is none of this warehouse.
        """
        msg = f"{cls.title} has no addresses"
        raise ConfigurationError(msg, remedy="Give its name, and the configuration as config.")

    @property
    def default_schema(self) -> str:
        """Name of the schema, or dataset, of a table that is named without one."""
        return self.mart_schema

    def write_table(self, place: Place, rows: Rows, mode: TableMode) -> Written:  # noqa: ARG002 - for subclasses
        """Make rows a table's, all at once; a table that is missing is made from their types.

        Raises:
            ConfigurationError: A column has another type, the table is somebody else's, or access
                is refused.
            DataError: A value does not fit; nothing was changed.
            TemporaryError: The server is away or busy.
        """
        msg = f"{self.title} takes no frames"
        raise ConfigurationError(msg, remedy="Name another warehouse.")

    def read_table(self, place: Place) -> pa.Table:  # noqa: ARG002  # pyright: ignore[reportUnknownParameterType]
        """Read a table whole, decimals and times exact.

        Raises:
            ConfigurationError: There is no such table, or access is refused.
            TemporaryError: The server is away or busy.
        """
        msg = f"{self.title} gives no frames"
        raise ConfigurationError(msg, remedy="Name another warehouse.")

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """How its SQL is written."""

    @property
    def raw_schema(self) -> str:
        """Name of the private schema, or dataset, of the raw table."""
        return self.config.data_warehouse.dataset

    @property
    def mart_schema(self) -> str:
        """Name of the schema, or dataset, that readers look at."""
        return self.config.data_mart.dataset

    @property
    def next_schema(self) -> str:
        """Name of the schema, or dataset, in which the next marts are built and tested."""
        return f"{self.mart_schema}__next"

    @property
    def marts(self) -> tuple[Mart, ...]:
        """The tables that `publish` makes current, by name.

        Raises:
            ConfigurationError: The YAML of a model says something that cannot be.
        """
        from sales_mart.marts import marts_of

        return marts_of(self)

    def schema_of(self, mart: Mart) -> str:
        """Return the name of the schema, or dataset, in which a published mart is."""
        return self.mart_schema if mart.publish == "mart" else self.raw_schema

    def live(self, mart: Mart) -> str:
        """Return the quoted name of a published mart."""
        return self.dialect.table(self.schema_of(mart), mart.name)

    def following(self, mart: Mart) -> str:
        """Return the quoted name of a next mart."""
        return self.dialect.table(self.next_schema, mart.name)

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """Open a session to read by.

        Raises:
            ConfigurationError: There are no credentials, or the server refuses them.
            TemporaryError: The server does not answer.
        """

    def reader(self) -> AbstractContextManager[Session]:
        """Open a session to read what is published by, which is in no run's way."""
        return self.session()

    @abstractmethod
    def load(self, run: RunFolder, options: LoadOptions | None = None) -> Load:
        """Make a sealed run's rows the raw table's, and write the record `load-<name>`.

        It is one transaction, and loading the run that is the latest already changes nothing.

        Args:
            run: The run.
            options: What may be loaded that is refused otherwise. Default: a former run.

        Raises:
            ConfigurationError: A column has another type, key ids would mix, or access is refused.
            DataError: The batch has more dates than the warehouse changes at once.
            SourceChangedError: A part is not the one that was sealed.
            TemporaryError: The server is away or busy, or another run loads at the same time.
            UnexpectedError: The table does not hold what the seal says; nothing was changed.
        """

    @abstractmethod
    def built_tables(self, named_by_dbt: Mapping[str, str]) -> dict[str, str]:
        """Return what tells the next marts apart from all others of their names, by name.

        Args:
            named_by_dbt: What dbt's own process found while it kept others out.
        """

    @abstractmethod
    def publish(self, following: NextMarts) -> Publication:
        """Make the next marts of a run the ones that readers see, all at once.

        A second call for the same load changes nothing, and sees that the marts are still the
        same.

        Raises:
            ConfigurationError: A table is missing, or has other columns than the next one.
            MartsChangedError: The marts would not be what they should; nothing is changed.
            SupersededError: There is a later load.
            TemporaryError: The server is away or busy, or another attempt builds the tables anew.
            UnexpectedError: The next tables hold rows outside of the window.
        """

    @abstractmethod
    def check(self, findings: Findings) -> None:
        """Check that the server can be reached and that the rights suffice; change nothing.

        Raises:
            SalesMartError: They do not.
        """

    def login(self) -> tuple[str | None, str] | None:
        """Return as whom the server is reached, and which place says so; not the password.

        None where there are no users; a user that is None where the place says why.
        """
        return None

    @abstractmethod
    def check_credentials(self, findings: Findings, origins: Mapping[str, str]) -> None:
        """Say where the credentials come from, and which had better stand elsewhere.

        Args:
            findings: Takes what is found.
            origins: Where the value of each key came from.
        """

    @abstractmethod
    def before_build(self) -> None:
        """Make what `keep_others_out` needs, if anything; `pending_window` has been asked."""

    def after_build(self, window: Window) -> None:
        """Do what would take time in `publish`, after all tests; a window of None is everything."""

    @abstractmethod
    def dbt_environment(self, *, offline: bool) -> dict[str, str]:
        """Return the environment variables of a dbt process: settings and secrets.

        Args:
            offline: The command needs no connection, so no credentials are looked for.

        Raises:
            ConfigurationError: There are no credentials.
        """

    @classmethod
    def prepare_dbt(cls) -> None:
        """Put our parts into dbt's adapter; this runs in dbt's own process."""

    @classmethod
    def keep_others_out(
        cls,
        schema: str | None,  # noqa: ARG003 - for subclasses
    ) -> AbstractContextManager[Callable[[], dict[str, str]]]:
        """Keep every other dbt out of a schema as long as dbt's process, which calls it, builds.

        Args:
            schema: Where the next marts are built; None when nothing is.

        Returns:
            What tells the tables in the schema apart from all that had their names before, where
            only this process can say so; `built_tables` is given it.
        """
        return nullcontext(dict)

    def dbt_variables(self) -> dict[str, Any]:
        """Return the vars of the dbt project that are this warehouse's own."""
        return {}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    found = {each.name: each for each in entry_points(group=GROUP)}
    ordered = sorted(found, key=lambda name: (name not in DEFAULT_TARGETS, name))
    first = [name for name in DEFAULT_TARGETS if name in found]
    return {name: found[name] for name in (*first, *ordered[len(first) :])}


def names() -> tuple[str, ...]:
    """Return the names of all warehouses that are installed, without loading any.

    The order is the one in which targets are worked on and listed.
    """
    return tuple(_entry_points())


def warehouse_class(name: str) -> type[Warehouse]:
    """Return the class of a warehouse.

    Raises:
        ConfigurationError: There is no warehouse of this name.
    """
    found = _entry_points().get(name)
    if found is None:
        msg = f"{name!r} is not a warehouse"
        raise ConfigurationError(msg, remedy=f"The warehouses are {', '.join(names())}.")
    return found.load()


def shared_warehouses() -> dict[str, type[Warehouse]]:
    """Return the warehouses that the pods of a workflow can reach, by name."""
    classes = {name: warehouse_class(name) for name in names()}
    return {name: each for name, each in classes.items() if each.is_shared}


def open_warehouse(config: Config, name: str) -> Warehouse:
    """Return a warehouse under a configuration; nothing is opened yet.

    Raises:
        ConfigurationError: There is no warehouse of this name, or its driver is not installed.
    """
    found = warehouse_class(name)
    need(name, *found.driver)
    return found(config)


def check_installed(name: str) -> None:
    """Check that all that loads a warehouse and builds its marts is installed.

    Raises:
        ConfigurationError: There is no warehouse of this name, or something is not installed.
    """
    found = warehouse_class(name)
    need(f"pipeline-{name}", *found.driver, *found.adapter)
