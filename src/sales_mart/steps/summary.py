"""The published `summary_sales` of a warehouse, read as it is needed."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import ConfigurationError
from sales_mart.lake.records import Target
from sales_mart.names import mart_schema
from sales_mart.rows.money import at_scale
from sales_mart.steps.published_sql import PublishedMarts, check_published
from sales_mart.steps.reconcile_sql import AVERAGE_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from sales_mart.config import Config
    from sales_mart.warehouses.history import Publication

__all__ = ["AVERAGE_DECIMALS", "Summary", "best_products", "published_summary"]

_COLUMNS = "product, sale_month, total_amount, avg_price, transaction_count"
_PAGE = 10_000


class Summary(NamedTuple):
    """One row of `summary_sales`: a product in a month."""

    product: str
    sale_month: date
    total_amount: Decimal
    avg_price: Decimal
    transaction_count: int


@contextmanager
def published_summary(config: Config, target: Target) -> Generator[tuple[int, Iterator[Summary]]]:
    """Open the live summary: the load that it shows, and its rows as they stream in.

    The rows come in the order of month, then product by code point, and are of one publication.
    The marts are compared with it first, all but the facts.

    Raises:
        ConfigurationError: Nothing has been published.
        MartsChangedError: The marts are not what was published.
        SupersededError: Another run was published while the rows were read.
    """
    read = _postgres_summary if target is Target.POSTGRES else _bigquery_summary
    with read(config) as (sequence, rows):
        yield sequence, _summaries(config, rows)


def best_products(config: Config, target: Target, month: date, limit: int) -> list[Summary]:
    """Give the products of a month with the highest totals; ties in code-point order.

    Raises:
        ConfigurationError: Nothing has been published.
    """
    read = _postgres_best if target is Target.POSTGRES else _bigquery_best
    return list(_summaries(config, read(config, month, limit)))


def _summaries(config: Config, rows: Iterable[tuple[Any, ...]]) -> Iterator[Summary]:
    """Give amounts their own scale: a server may pad them with zeros."""
    decimals = config.rules.max_decimals
    for product, month, total, mean, count in rows:
        amount, average = at_scale(total, decimals), at_scale(mean, AVERAGE_DECIMALS)
        yield Summary(product, month, amount, average, count)


def _check(
    config: Config,
    target: Target,
    published: Publication,
    ask: Callable[[str], Iterable[Sequence[Any]]],
) -> None:
    """See that the small marts are what was published, where a version recorded that."""
    if published.slices is not None:
        found = PublishedMarts(config, target).differences(ask, (), recorded=True)
        check_published(target, found, "Nothing was read.", published.run_id)


def _not_published(target: Target) -> ConfigurationError:
    msg = f"no summary_sales has been published in {target}"
    return ConfigurationError(msg, remedy="Run `sales-mart run`, or `publish` for a loaded run.")


@contextmanager
def _postgres_summary(config: Config) -> Generator[tuple[int, Iterator[tuple[Any, ...]]]]:
    import psycopg
    from psycopg.sql import SQL, Identifier

    from sales_mart.warehouses.postgres.connection import connect
    from sales_mart.warehouses.postgres.history import latest_publication
    from sales_mart.warehouses.postgres.owners import check_owners

    with connect(config, read_only=True) as connection:
        # One snapshot for the publication and the rows.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        check_owners(connection, config)
        published = latest_publication(connection, config)
        if published is None:
            raise _not_published(Target.POSTGRES)
        # The checksums read dates as ISO text.
        connection.execute("set local datestyle = 'ISO'")
        _check(config, Target.POSTGRES, published, lambda sql: connection.execute(sql.encode()))
        with connection.cursor("sales_mart_summary") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(
                SQL('select {} from {} order by sale_month, product collate "C"').format(
                    SQL(_COLUMNS), Identifier(mart_schema(config, Target.POSTGRES), "summary_sales")
                )
            )
            yield published.sequence, cursor


@contextmanager
def _bigquery_summary(config: Config) -> Generator[tuple[int, Iterator[tuple[Any, ...]]]]:
    from sales_mart.errors import SupersededError
    from sales_mart.warehouses.bigquery.connection import (
        bigquery_errors,
        client,
        query,
        table_id,
    )
    from sales_mart.warehouses.bigquery.history import latest_publication

    name = table_id(config, mart_schema(config, Target.BIGQUERY), "summary_sales")
    with bigquery_errors(config), client(config) as connected:
        published = latest_publication(connected, config)
        if published is None:
            raise _not_published(Target.BIGQUERY)

        def ask(sql: str) -> Iterator[tuple[Any, ...]]:
            for row in query(connected, sql):
                yield row.values()

        _check(config, Target.BIGQUERY, published, ask)
        # A query's result is a table of its own: what is published meanwhile does not reach it.
        rows = query(connected, f"select {_COLUMNS} from `{name}` order by sale_month, product")
        if latest_publication(connected, config) != published:
            msg = "another run was published in BigQuery at the same moment"
            raise SupersededError(msg, remedy=SupersededError.advice)

        def values() -> Iterator[tuple[Any, ...]]:
            # Translated here: to whoever writes the rows, the client's errors look like a disk's.
            with bigquery_errors(config):
                for row in rows:
                    yield row.values()

        yield published.sequence, values()


def _postgres_best(config: Config, month: date, limit: int) -> list[tuple[Any, ...]]:
    from psycopg.sql import SQL, Identifier

    from sales_mart.warehouses.postgres.connection import connect, exists
    from sales_mart.warehouses.postgres.owners import check_owners

    schema = mart_schema(config, Target.POSTGRES)
    with connect(config, read_only=True) as connection:
        check_owners(connection, config)
        if not exists(connection, schema, "summary_sales"):
            raise _not_published(Target.POSTGRES)
        statement = SQL("""
            select {}
            from {}
            where sale_month = %s
            order by total_amount desc, product collate "C"
            limit %s
        """).format(SQL(_COLUMNS), Identifier(schema, "summary_sales"))
        return connection.execute(statement, (month, limit)).fetchall()


def _bigquery_best(config: Config, month: date, limit: int) -> list[tuple[Any, ...]]:
    from google.cloud import bigquery

    from sales_mart.warehouses.bigquery.connection import (
        bigquery_errors,
        client,
        existing_table,
        query,
        table_id,
    )

    name = table_id(config, mart_schema(config, Target.BIGQUERY), "summary_sales")
    with bigquery_errors(config), client(config) as connected:
        if existing_table(connected, name) is None:
            raise _not_published(Target.BIGQUERY)
        rows = query(
            connected,
            f"""
            select {_COLUMNS}
            from `{name}`
            where sale_month = @month
            order by total_amount desc, product
            limit {limit:d}
            """,
            [bigquery.ScalarQueryParameter("month", "DATE", month)],
        )
        return [row.values() for row in rows]
