"""A warehouse under test, and what the suite has to know of its SQL besides its dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.lake.records import Mode
from sales_mart.names import PRODUCT_MONTHS
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.history import pending_window
from sales_mart.warehouses.publishing import NextMarts
from sales_mart.warehouses.windows import window_months
from support import Row, sealed_run
from warehouses import change, published_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.records import Load
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.windows import Window

D1, D2, D3 = "2023-10-01", "2023-10-02", "2023-11-03"


class Flavour(NamedTuple):
    """What a warehouse's SQL says its own way, and dbt's macros say for the product."""

    month: str = "cast(date_trunc('month', sale_date) as date)"
    money: str = "cast({} as numeric(29, 2))"
    whole: str = "cast({} as bigint)"
    marks: str = ""
    """Asks what dbt's process would tell of the tables in a schema."""
    published: str = "table"
    """What a published mart is."""


FLAVOURS = {
    "bigquery": Flavour("cast(date_trunc(sale_date, month) as date)", "{}", "cast({} as int64)"),
    "postgres": Flavour(
        marks="select relname, cast(oid as text) from pg_class"
        " where relkind = 'r' and relnamespace = to_regnamespace('{}')",
        published="view",
    ),
}
"""The line of each warehouse that says something its own way."""


class Built(NamedTuple):
    """A run that is loaded, and whose next marts are built."""

    run: RunFolder
    window: Window
    sequence: int
    marks: dict[str, str]


class Subject:
    """One warehouse, with schemas of its own, and a lake."""

    def __init__(self, name: str, config: Config, lake: Path) -> None:
        self.name = name
        self.config = config
        self.lake = lake
        self.warehouse = open_warehouse(config, name)
        self.dialect = self.warehouse.dialect
        self._flavour = FLAVOURS.get(name, Flavour())

    # --- SQL

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        with self.warehouse.session() as session:
            return list(session.query(sql))

    def change(self, *statements: str) -> None:
        """Run statements that change something."""
        change(self.config, self.name, *statements)

    @property
    def raw(self) -> str:
        """The quoted name of the raw table."""
        return self.dialect.table(self.warehouse.raw_schema, self.config.data_warehouse.table)

    def live(self, mart: str) -> str:
        """Return the quoted name of a published table."""
        return self.dialect.table(published_tables(self.config, self.name)[mart][0], mart)

    def drop(self, mart: str) -> None:
        """Drop a published mart, as somebody by mistake."""
        self.change(f"drop {self._flavour.published} {self.live(mart)}")

    def following(self, mart: str) -> str:
        """Return the quoted name of a next table."""
        return self.dialect.table(self.warehouse.next_schema, mart)

    def models(self, days: str = "true", months: str = "true") -> dict[str, str]:
        """Return what dbt builds, reduced to grain, columns, and only the window."""
        flavour = self._flavour
        raw = f"(select * from {self.raw} where superseded_by is null) as raw"
        sums = f"""
            {flavour.money.format("sum(price * quantity)")} as total_amount,
            {flavour.whole.format("sum(quantity)")} as total_quantity,
            count(*) as transaction_count
        """
        mean = f"{flavour.money.format('min(price)')} as avg_price"
        total_price = f"{flavour.money.format('sum(price)')} as total_price"

        def by_month(measure: str) -> str:
            return f"""
                select product, {flavour.month} as sale_month, {sums}, {measure}
                from {raw} where {months} group by 1, 2
            """

        return {
            self.warehouse.fact_table: f"""
                select
                    transaction_id, product, price, quantity,
                    {flavour.money.format("price * quantity")} as amount, sale_date
                from {raw} where {days}
            """,
            "sales_by_date": f"""
                select sale_date, {sums}, {mean} from {raw} where {days} group by sale_date
            """,
            "sales_by_product": f"select product, {sums}, {mean} from {raw} group by product",
            "summary_sales": by_month(mean),
            PRODUCT_MONTHS: by_month(total_price),
        }

    def _within(self, column: str, days: Sequence[date]) -> str:
        listed = ", ".join(self.dialect.literal(day) for day in days)
        return f"{column} in ({listed})" if days else "false"

    # --- loads

    def sealed(self, run_id: str, rows: Sequence[Row], **options: Any) -> RunFolder:
        """Seal a run."""
        return sealed_run(self.config, self.lake, run_id, rows, **options)

    def replace(self, run_id: str, rows: Sequence[Row], **options: Any) -> Load:
        """Load a snapshot, or what else the options make it."""
        return self.warehouse.load(self.sealed(run_id, rows, **options))

    def append(self, run_id: str, day: str, rows: Sequence[Row]) -> Load:
        """Load `rows` as the batch of `day`."""
        return self.replace(run_id, rows, business_date=day, mode=Mode.APPEND)

    def raw_rows(self) -> list[tuple[Any, ...]]:
        """Return the valid columns, run and batch of every visible row, in the order of tokens."""
        return self.ask(
            "select transaction_id, product, price, quantity, sale_date, run_id, business_date"
            f" from {self.raw} where superseded_by is null order by transaction_id"
        )

    def tokens(self) -> list[str]:
        """Return the tokens of all visible rows, ascending."""
        return [values[0] for values in self.raw_rows()]

    # --- publications

    def build(self, run: RunFolder, *, full: bool = False) -> Built:
        """Build the next marts of the latest load, as `transform` would."""
        with self.warehouse.session() as session:
            sequence, window = pending_window(session)
        window = None if full else window
        days = months = "true"
        if window is not None:
            days = self._within("sale_date", window)
            months = self._within(self._flavour.month, window_months(window))
        statements = [f"create schema if not exists {self.warehouse.next_schema}"]
        for name, model in self.models(days, months).items():
            table = self.following(name)
            statements += [f"drop table if exists {table}", f"create table {table} as {model}"]
        self.change(*statements)
        return Built(run, window, sequence, self.marks())

    def marks(self) -> dict[str, str]:
        """Return what tells the next tables apart, as `transform` records it."""
        asked = self._flavour.marks.format(self.warehouse.next_schema)
        return self.warehouse.built_tables(dict(self.ask(asked)) if asked else {})

    def loaded(self, run_id: str, rows: Sequence[Row], **options: Any) -> Built:
        """Load rows and build the next marts of them."""
        run = self.sealed(run_id, rows, **options)
        self.warehouse.load(run)
        return self.build(run)

    def publish(self, built: Built, **options: Any) -> Publication:
        """Publish what was built."""
        return self.warehouse.publish(
            NextMarts(built.run.run_id, built.window, built.sequence, built.marks, **options)
        )

    def published(self, run_id: str, rows: Sequence[Row], **options: Any) -> Built:
        """Load, build and publish."""
        built = self.loaded(run_id, rows, **options)
        self.publish(built)
        return built

    def contents(self) -> dict[str, set[tuple[Any, ...]]]:
        """Read all published tables."""
        return {name: set(self.ask(self._columns(name, self.live(name)))) for name in self.models()}

    def rebuilt(self) -> dict[str, set[tuple[Any, ...]]]:
        """Compute every mart from the raw table at once."""
        return {
            name: set(self.ask(self._columns(name, f"({model})")))
            for name, model in self.models().items()
        }

    def _columns(self, name: str, source: str) -> str:
        last = "total_price" if name == PRODUCT_MONTHS else "avg_price"
        measures = f"total_amount, total_quantity, transaction_count, {last}"
        facts = "transaction_id, product, price, quantity, amount, sale_date"
        columns = {
            self.warehouse.fact_table: facts,
            "sales_by_date": f"sale_date, {measures}",
            "sales_by_product": f"product, {measures}",
        }.get(name, f"product, sale_month, {measures}")
        return f"select {columns} from {source} as found"
