"""The published `summary_sales` of a warehouse, read as it is needed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import ConfigurationError, SupersededError
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.differences import check_published
from sales_mart.warehouses.frames import exact
from sales_mart.warehouses.history import latest_publication
from sales_mart.warehouses.published import PublishedMarts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.marts import Mart
    from sales_mart.schema import TableColumn
    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication

__all__ = [
    "OpenSummary",
    "best_products",
    "check_still_shown",
    "open_summary",
    "published_summary",
    "summary_columns",
]

_NAME = "summary_sales"


class OpenSummary(NamedTuple):
    """The live summary in an open session.

    Attributes:
        session: The session; ask it more when the rows are read.
        publication: What the summary shows.
        rows: Its rows, as they stream in.
    """

    session: Session
    publication: Publication
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def published_summary(
    config: Config, target: str
) -> Generator[tuple[int, Iterator[tuple[Any, ...]]]]:
    """Open the live summary: the load that it shows, and its rows as `open_summary` has them."""
    with open_summary(config, target) as opened:
        yield opened.publication.sequence, opened.rows


@contextmanager
def open_summary(config: Config, target: str) -> Generator[OpenSummary]:
    """Open the live summary.

    The rows come in the order of month, then texts by code point, and are of one publication.
    The marts are compared with it first, all but the facts.

    Raises:
        ConfigurationError: Nothing has been published.
        MartsChangedError: The marts are not what was published.
        SupersededError: Another run was published while the rows were read.
    """
    warehouse = open_warehouse(config, target)
    mart = _summary(warehouse)
    with warehouse.session() as session:
        published = latest_publication(session)
        if published is None:
            raise _not_published(target)
        if published.slices is not None:
            found = PublishedMarts(warehouse).differences(session.query, (), recorded=True)
            check_published(target, found, "Nothing was read.", published.run_id)
        rows = session.stream(f"""
            select {_listed(warehouse)}
            from {warehouse.live(mart)}
            order by {", ".join((str(mart.slice), *_texts(warehouse)))}
        """)
        check_still_shown(session, published)
        yield OpenSummary(session, published, exact(mart.columns, rows))


def check_still_shown(session: Session, published: Publication) -> None:
    """See that nothing else was published since, where a session is no snapshot.

    Raises:
        SupersededError: Another run was.
    """
    if latest_publication(session) != published:
        msg = f"another run was published in {session.warehouse.title} at the same moment"
        raise SupersededError(msg, remedy=SupersededError.advice)


def best_products(config: Config, target: str, month: date, limit: int) -> list[dict[str, Any]]:
    """Return the products of a month with the highest totals; ties in code-point order.

    Raises:
        ConfigurationError: Nothing has been published.
    """
    warehouse = open_warehouse(config, target)
    mart = _summary(warehouse)
    with warehouse.session() as session:
        if not session.exists(warehouse.mart_schema, _NAME):
            raise _not_published(target)
        rows = session.query(f"""
            select {_listed(warehouse)}
            from {warehouse.live(mart)}
            where {mart.slice} = {warehouse.dialect.literal(month)}
            order by {", ".join((f"{mart.sums['amount']} desc", *_texts(warehouse)))}
            limit {limit:d}
        """)
        names = [column.name for column in mart.columns]
        return [dict(zip(names, row, strict=True)) for row in exact(mart.columns, rows)]


def summary_columns(config: Config, target: str) -> tuple[TableColumn, ...]:
    """Return the columns of the summary, as its YAML has them."""
    return _summary(open_warehouse(config, target)).columns


def _summary(warehouse: Warehouse) -> Mart:
    return next(mart for mart in warehouse.marts if mart.name == _NAME)


def _listed(warehouse: Warehouse) -> str:
    columns = _summary(warehouse).columns
    return ", ".join(warehouse.dialect.identifier(column.name) for column in columns)


def _texts(warehouse: Warehouse) -> list[str]:
    """Return what orders the texts, the missing ones last in every warehouse."""
    dialect = warehouse.dialect
    return [
        dialect.by_code_point(dialect.identifier(each.name))
        + (" nulls last" if each.is_nullable else "")
        for each in _summary(warehouse).columns
        if each.kind == "text"
    ]


def _not_published(target: str) -> ConfigurationError:
    msg = f"no {_NAME} has been published in {target}"
    return ConfigurationError(msg, remedy="Run `sales-mart run`, or `publish` for a loaded run.")
