"""How a warehouse's SQL says what all of them can say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sales_mart.schema import Column, Kind, TableColumn

__all__ = ["NULL_TEXT", "Dialect"]

_SHORT = 32
NULL_TEXT = "<null>"
"""Stands for a missing value in the text that a row's checksum is made of."""


class Dialect(ABC):
    """How a warehouse's SQL says what all of them can say.

    Attributes:
        types: What the catalogue calls the type of each kind of column.
        short_integer: What it calls whole numbers of 32 bits.
        any_decimal: What it calls the decimals with the most digits.
    """

    types: ClassVar[Mapping[Kind, str]]
    short_integer: ClassVar[str]
    any_decimal: ClassVar[str]

    @abstractmethod
    def table(self, schema: str, name: str) -> str:
        """Return the quoted name of a table."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """Return the quoted name of a column."""

    @abstractmethod
    def literal(self, value: str | int | date | None) -> str:
        """Return a value as a literal."""

    @abstractmethod
    def by_code_point(self, column: str) -> str:
        """Return what orders a text column by code point, whatever its collation."""

    @abstractmethod
    def as_text(self, expression: str) -> str:
        """Return the cast of an expression to a text."""

    @abstractmethod
    def month_start(self, expression: str) -> str:
        """Return the first day of a date's month, as a date."""

    @property
    @abstractmethod
    def now(self) -> str:
        """What gives the time of the server, of the column type of a timestamp."""

    def type_of(self, column: TableColumn) -> str:
        """Return the type of a table's column, as the catalogue spells it."""
        if column.kind == "decimal":
            if not column.digits:
                return self.any_decimal
            return f"{self.types['decimal']}({column.digits},{column.scale})"
        if column.kind == "integer" and column.digits <= _SHORT:
            return self.short_integer
        return self.types[column.kind]

    def definition(self, column: TableColumn) -> str:
        """Return a column as the statement that creates a table has it."""
        missing = "" if column.is_nullable else " not null"
        return f"{self.identifier(column.name)} {self.type_of(column)}{missing}"

    @abstractmethod
    def text(self, column: Column) -> str:
        """Return a column's canonical text, the same in all warehouses.

        Decimals have all digits of their scale, and dates are ISO 8601.
        """

    @abstractmethod
    def checksum(self, texts: Sequence[str]) -> str:
        """Return a checksum of texts with `|` between them, a number of 60 bits.

        It is the first 15 hex digits of their MD5, in a type in which the checksums of a whole
        table can be added up. MD5 protects from mistakes here, not against people, and all
        warehouses have it.
        """

    def row_checksum(self, columns: Sequence[Column]) -> str:
        """Return the expression of a row's checksum."""
        missing = self.literal(NULL_TEXT)
        return self.checksum([f"coalesce({self.text(column)}, {missing})" for column in columns])
