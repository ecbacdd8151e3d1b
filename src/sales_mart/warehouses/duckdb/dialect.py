"""How DuckDB says what every warehouse can say."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from sales_mart.names import LOAD_RUNS, STAGING
from sales_mart.warehouses.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.schema import Column, Kind

__all__ = ["PUBLISHED", "WORK", "DuckDBDialect"]

PUBLISHED, WORK = "published", "work"
"""Names under which the two files are attached."""


class DuckDBDialect(Dialect):
    """DuckDB's SQL, in a connection to which both files are attached."""

    types: ClassVar[Mapping[Kind, str]] = {
        "text": "varchar",
        "integer": "bigint",
        "decimal": "decimal",
        "date": "date",
        "timestamp": "timestamp",
        "boolean": "boolean",
    }
    short_integer = "integer"
    any_decimal = "decimal(38,9)"

    def __init__(self, raw_schema: str, mart_schema: str, raw_table: str) -> None:
        """Take the names that say in which file a table is.

        Private tables that change with the marts stand in their file: all but what `load` fills.
        """
        self._raw_schema = raw_schema
        self._mart_schema = mart_schema
        self._loaded = (raw_table, LOAD_RUNS, STAGING)

    def table(self, schema: str, name: str) -> str:
        """Return the quoted name of a table."""
        shown = schema == self._mart_schema or (
            schema == self._raw_schema and name not in self._loaded
        )
        return ".".join(map(self.identifier, (PUBLISHED if shown else WORK, schema, name)))

    def identifier(self, name: str) -> str:
        """Return the quoted name of a column."""
        return f'"{name}"'

    def literal(self, value: str | int | date | None) -> str:
        """Return a value as a literal."""
        if value is None:
            return "null"
        if isinstance(value, date):
            return f"date '{value.isoformat()}'"
        return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

    def by_code_point(self, column: str) -> str:
        """Return the column: that is how DuckDB orders texts."""
        return column

    def as_text(self, expression: str) -> str:
        """Return the cast of an expression to a text."""
        return f"cast({expression} as varchar)"

    def month_start(self, expression: str) -> str:
        """Return the first day of a date's month."""
        return f"cast(date_trunc('month', {expression}) as date)"

    @property
    def now(self) -> str:
        """The time of the server."""
        return "cast(get_current_timestamp() as timestamp)"

    def text(self, column: Column) -> str:
        """Return a column's text: that of a decimal has all its digits."""
        name = self.identifier(column.name)
        return name if column.kind == "text" else self.as_text(name)

    def checksum(self, texts: Sequence[str]) -> str:
        """Return a checksum of texts; DuckDB adds bigints up to a hugeint."""
        text = " || '|' || ".join(texts)
        return f"cast('0x' || left(md5({text}), 15) as bigint)"
