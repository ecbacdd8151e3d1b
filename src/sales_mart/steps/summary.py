"""The published `summary_sales` of a warehouse, read as it is needed."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import ConfigurationError, SupersededError
from sales_mart.rows.money import at_scale
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.differences import check_published
from sales_mart.warehouses.history import latest_publication
from sales_mart.warehouses.published import PublishedMarts
from sales_mart.warehouses.questions import AVERAGE_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from sales_mart.config import Config
    from sales_mart.warehouses.base import Warehouse

__all__ = ["AVERAGE_DECIMALS", "Summary", "best_products", "published_summary"]

_COLUMNS = "product, sale_month, total_amount, avg_price, transaction_count"
_NAME = "summary_sales"


class Summary(NamedTuple):
    """One row of `summary_sales`: a product in a month."""

    product: str
    sale_month: date
    total_amount: Decimal
    avg_price: Decimal
    transaction_count: int


@contextmanager
def published_summary(config: Config, target: str) -> Generator[tuple[int, Iterator[Summary]]]:
    """Open the live summary: the load that it shows, and its rows as they stream in.

    The rows come in the order of month, then product by code point, and are of one publication.
    The marts are compared with it first, all but the facts.

    Raises:
        ConfigurationError: Nothing has been published.
        MartsChangedError: The marts are not what was published.
        SupersededError: Another run was published while the rows were read.
    """
    warehouse = open_warehouse(config, target)
    with warehouse.session() as session:
        published = latest_publication(session)
        if published is None:
            raise _not_published(target)
        if published.slices is not None:
            found = PublishedMarts(warehouse).differences(session.query, (), recorded=True)
            check_published(target, found, "Nothing was read.", published.run_id)
        rows = session.stream(f"""
            select {_COLUMNS}
            from {_table(warehouse)}
            order by sale_month, {warehouse.dialect.by_code_point("product")}
        """)
        # Where a session is no snapshot.
        if latest_publication(session) != published:
            msg = f"another run was published in {warehouse.title} at the same moment"
            raise SupersededError(msg, remedy=SupersededError.advice)
        yield published.sequence, _summaries(config, rows)


def best_products(config: Config, target: str, month: date, limit: int) -> list[Summary]:
    """Return the products of a month with the highest totals; ties in code-point order.

    Raises:
        ConfigurationError: Nothing has been published.
    """
    warehouse = open_warehouse(config, target)
    dialect = warehouse.dialect
    with warehouse.session() as session:
        if not session.exists(warehouse.mart_schema, _NAME):
            raise _not_published(target)
        rows = session.query(f"""
            select {_COLUMNS}
            from {_table(warehouse)}
            where sale_month = {dialect.literal(month)}
            order by total_amount desc, {dialect.by_code_point("product")}
            limit {limit:d}
        """)
        return list(_summaries(config, rows))


def _table(warehouse: Warehouse) -> str:
    return warehouse.dialect.table(warehouse.mart_schema, _NAME)


def _summaries(config: Config, rows: Iterable[tuple[Any, ...]]) -> Iterator[Summary]:
    """Yield amounts their own scale: a server may pad them with zeros."""
    decimals = config.rules.max_decimals
    for product, month, total, mean, count in rows:
        amount, average = at_scale(total, decimals), at_scale(mean, AVERAGE_DECIMALS)
        yield Summary(product, month, amount, average, count)


def _not_published(target: str) -> ConfigurationError:
    msg = f"no {_NAME} has been published in {target}"
    return ConfigurationError(msg, remedy="Run `sales-mart run`, or `publish` for a loaded run.")
