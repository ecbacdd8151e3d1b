"""What `quality_history` says of a load, and which loads two warehouses tell otherwise."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from googlesql import analyse
from sales_mart.config import Config
from sales_mart.names import LOAD_RUNS, QUALITY_HISTORY
from sales_mart.warehouses.base import Session
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.own_tables import LOAD_TABLES, QUALITY_TABLES
from sales_mart.warehouses.quality import LoadedRun, differing_runs, history_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from googlesql import Tables

RUN = LoadedRun("r", date(2024, 1, 5), "append", 7, "digest", 3, 2, {"price_format": 2})


def shares(rows_read: int | None, rejects: dict[str, int]) -> dict[str | None, Decimal | None]:
    run = RUN._replace(rows_read=rows_read, rows_rejected=max(rejects.values()), rejects=rejects)
    return {row.reason: row.share for row in run.rows()}


def test_shares_are_exact_to_nine_decimals_and_halves_go_up() -> None:
    assert shares(3, {"a": 1, "b": 2}) == {
        None: Decimal("0.666666667"),
        "a": Decimal("0.333333333"),
        "b": Decimal("0.666666667"),
    }
    assert shares(2_000_000_000, {"a": 1})["a"] == Decimal("0.000000001")
    assert shares(7, {"a": 7})["a"] == 1
    assert shares(10**18, {"a": 10**18 - 1})["a"] == 1


@pytest.mark.parametrize("rows_read", [0, None])
def test_there_is_no_share_of_nothing_and_none_of_what_is_not_known(rows_read: int | None) -> None:
    assert shares(rows_read, {"a": 0}) == {None: None, "a": None}


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (RUN, False),
        (RUN._replace(sequence=9), False),
        (RUN._replace(rows_read=4), True),
        (RUN._replace(rows_rejected=1), True),
        (RUN._replace(rejects={"price_format": 1}), True),
        (RUN._replace(rejects={}), True),
        (RUN._replace(rows_read=None, rows_rejected=None, rejects=None), False),
        (RUN._replace(rows_read=None, rejects={}), True),
        (RUN._replace(run_id="another", rejects={}), False),
        (RUN._replace(seal_digest="another", rejects={}), False),
    ],
)
def test_a_run_differs_where_both_know_and_say_otherwise(
    other: LoadedRun, *, differs: bool
) -> None:
    expected = ["r"] if differs else []
    assert differing_runs({"r": RUN}, {other.run_id: other}) == expected
    assert differing_runs({other.run_id: other}, {"r": RUN}) == expected


class OneLoad(Session):
    """A session that knows of one load, and of a history that has something else of it."""

    def __init__(self, known: tuple[str, ...], **changes: Any) -> None:
        self.warehouse = BigQuery(Config())
        self.known = known
        self.run = RUN._replace(rejects='{"price_format": 2}', **changes)  # pyright: ignore[reportArgumentType]
        self.tables: Tables = {
            f"sales-mart.{place}.{name}": {
                each.name: self.warehouse.dialect.type_of(each).partition("(")[0]
                for each in columns
                if name != LOAD_RUNS or each.name in known
            }
            for place, tables in (
                (self.warehouse.raw_schema, LOAD_TABLES),
                (self.warehouse.mart_schema, QUALITY_TABLES),
            )
            for name, columns in tables.items()
        }

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        analyse(sql, self.tables)
        if QUALITY_HISTORY in sql:
            return iter([("r", date(2024, 1, 5), "append", 7, None, 3, 1, Decimal(1))])
        return iter([tuple(self.run)])

    def columns(self, schema: str, table: str) -> tuple[str, ...]:  # noqa: ARG002 - one table
        return self.known


LOAD_COLUMNS = tuple(each.name for each in LOAD_TABLES[LOAD_RUNS])


@pytest.mark.parametrize("known", [LOAD_COLUMNS, LOAD_COLUMNS[:10]], ids=["now", "0.1"])
def test_what_is_asked_and_written_is_googlesql(known: tuple[str, ...]) -> None:
    session = OneLoad(known)
    statements = history_sql(session, 7)
    assert [each.partition(" ")[0] for each in statements] == ["delete", "insert"]
    for statement in statements:
        analyse(statement, session.tables)
