"""How PostgreSQL says what every warehouse can say."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, ClassVar

from sales_mart.warehouses.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.schema import Column, Kind, TableColumn

__all__ = ["PostgresDialect"]


class PostgresDialect(Dialect):
    """PostgreSQL's SQL, in a session whose dates are ISO text."""

    types: ClassVar[Mapping[Kind, str]] = {
        "text": "text",
        "integer": "bigint",
        "decimal": "numeric",
        "date": "date",
        "timestamp": "timestamp with time zone",
        "boolean": "boolean",
    }
    short_integer = "integer"
    any_decimal = "numeric"

    def table(self, schema: str, name: str) -> str:
        """Return the quoted name of a table."""
        return f"{self.identifier(schema)}.{self.identifier(name)}"

    def identifier(self, name: str) -> str:
        """Return the quoted name of a column."""
        return f'"{name}"'

    def literal(self, value: str | int | date | None) -> str:
        """Return a value as a literal, whatever `standard_conforming_strings` says."""
        if value is None:
            return "null"
        if isinstance(value, date):
            return f"date '{value.isoformat()}'"
        if isinstance(value, int):
            return str(value)
        escaped = value.replace("\\", "\\\\").replace("'", "''")
        return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"

    def by_code_point(self, column: str) -> str:
        """Return what orders a text column by code point."""
        return f'{column} collate "C"'

    def as_text(self, expression: str) -> str:
        """Return the cast of an expression to a text."""
        return f"cast({expression} as text)"

    def month_start(self, expression: str) -> str:
        """Return the first day of a date's month, whatever the session's time zone."""
        return f"cast(date_trunc('month', cast({expression} as timestamp)) as date)"

    @property
    def now(self) -> str:
        """The time of the server."""
        return "clock_timestamp()"

    def definition(self, column: TableColumn) -> str:
        """Return a column as the statement that creates a table has it; texts in code points."""
        plain = super().definition(column)
        return plain.replace(" text", ' text collate "C"', 1) if column.kind == "text" else plain

    def text(self, column: Column) -> str:
        """Return a column's text: that of a numeric(…, n) has n decimals."""
        name = self.identifier(column.name)
        return name if column.kind == "text" else self.as_text(name)

    def checksum(self, texts: Sequence[str]) -> str:
        """Return a checksum of texts; PostgreSQL adds bigints up to a numeric."""
        text = " || '|' || ".join(texts)
        return f"cast(cast('x' || left(md5({text}), 15) as bit(60)) as bigint)"
