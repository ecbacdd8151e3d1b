"""GoogleSQL: what every warehouse can say, and pieces of scripts that change tables at once."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.warehouses.bigquery.connection import is_emulator, table_id
from sales_mart.warehouses.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.schema import Column, Kind

__all__ = [
    "LOCK",
    "BigQueryDialect",
    "Value",
    "conditional_script",
    "empty_table",
    "literal",
]

LOCK = "target_lock"
"""Table of one row beside the raw table. Every script updates it first: the server cancels one of
two transactions that update the same row, but lets two that only insert pass each other by."""

Value = str | int | date | None


def literal(value: Value) -> str:
    """Return a value as a literal.

    Scripts carry literals instead of parameters: only a literal date surely prunes partitions,
    and the stand-in server binds no parameters in scripts.
    """
    if value is None:
        return "null"
    if isinstance(value, date):
        return f"date '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


class BigQueryDialect(Dialect):
    """The SQL of a project."""

    types: ClassVar[Mapping[Kind, str]] = {
        "text": "STRING",
        "integer": "INT64",
        "decimal": "NUMERIC",
        "date": "DATE",
        "timestamp": "TIMESTAMP",
        "boolean": "BOOL",
    }
    short_integer = "INT64"
    any_decimal = "NUMERIC"

    def __init__(self, project: str) -> None:
        """Take the name of the project, in which all tables are."""
        self._project = project

    def table(self, schema: str, name: str) -> str:
        """Return the quoted name of a table."""
        return f"`{self._project}.{schema}.{name}`"

    def identifier(self, name: str) -> str:
        """Return the quoted name of a column."""
        return f"`{name}`"

    def literal(self, value: Value) -> str:
        """Return a value as a literal."""
        return literal(value)

    def by_code_point(self, column: str) -> str:
        """Return the column: that is how BigQuery orders texts."""
        return column

    def as_text(self, expression: str) -> str:
        """Return the cast of an expression to a text."""
        return f"cast({expression} as string)"

    def month_start(self, expression: str) -> str:
        """Return the first day of a date's month; the emulator has a DATETIME without the cast."""
        return f"cast(date_trunc({expression}, month) as date)"

    @property
    def now(self) -> str:
        """The time of the server."""
        return "current_timestamp()"

    def text(self, column: Column) -> str:
        """Return a column's text; that of a NUMERIC lacks the zeros at its end."""
        name = self.identifier(column.name)
        if column.kind == "text":
            return name
        text = f"cast({name} as string)"
        if column.kind != "decimal":
            return text
        whole = f"regexp_extract({text}, r'^-?[0-9]+')"
        if column.scale == 0:
            return whole
        part = f"coalesce(regexp_extract({text}, r'[.]([0-9]+)$'), '0')"
        return f"concat({whole}, '.', rpad({part}, {column.scale}, '0'))"

    def checksum(self, texts: Sequence[str]) -> str:
        """Return a checksum of texts, as a bignumeric.

        The sum of a day outgrows 64 bits, and a row's checksum the numeric that the emulator reads
        through a view.
        """
        text = ", '|', ".join(texts)
        digits = f"left(to_hex(md5(concat({text}))), 15)"
        return f"cast(cast(concat('0x', {digits}) as int64) as bignumeric)"


def empty_table(config: Config, name: str) -> str:
    """Return the statement that empties a table within a transaction.

    TRUNCATE touches any number of partitions, where a DELETE may touch 4,000. The stand-in server
    does not take TRUNCATE back when a transaction fails, so it gets the DELETE.
    """
    if is_emulator(config):
        return f"delete from `{name}` where true"
    return f"truncate table `{name}`"


def conditional_script(
    config: Config,
    run_id: str,
    sequence: int,
    statements: Sequence[str],
    *,
    unless: str | None = None,
) -> str:
    """Put statements into a transaction that does nothing unless `sequence` is the latest load's.

    With `unless`, a query, the transaction takes the statements back when that finds a row.

    Whether it did something shows in the tables afterwards, so that a caller who lost the answer
    can find out as well.
    """
    schema = raw_schema(config)
    body = "".join(f"    {statement.strip()};\n" for statement in statements)
    commit = "    commit transaction;\n"
    if unless is not None:
        commit = (
            f"    if exists (select 1 from ({unless}) as wrong) then\n"
            "    rollback transaction;\n"
            "    else\n"
            f"{commit}"
            "    end if;\n"
        )
    return (
        "begin transaction;\n"
        f"update `{table_id(config, schema, LOCK)}` set run_id = {literal(run_id)} where true;\n"
        f"if (select coalesce(max(sequence), 0) from `{table_id(config, schema, LOAD_RUNS)}`)"
        f" != {sequence} then\n"
        "    rollback transaction;\n"
        "else\n"
        f"{body}"
        f"{commit}"
        "end if;\n"
    )
