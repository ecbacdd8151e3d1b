"""The columns of a sale, as data: what a run reads, carries, loads and shows.

A column is declared here, or in the configuration's `ingestion.attributes`, and nowhere else. What
depends on the columns is derived from them: the header of a file, the types of the parts in the
lake, the tables of every warehouse, the quarantine, the checksums of `reconcile` and `publish`, the
columns of the fact table, and the rows that `generate` makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict

from sales_mart.names import STAGING_FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl
    import pyarrow as pa

    from sales_mart.config import Config

__all__ = [
    "AMOUNT_DIGITS",
    "FIELDS",
    "MEASURES",
    "NUMBERS",
    "POSITIONS",
    "PRICE_DIGITS",
    "RESERVED_NAMES",
    "STAMPS",
    "Column",
    "FieldName",
    "Kind",
    "MappedName",
    "Measure",
    "Origin",
    "Role",
    "SaleColumn",
    "Schema",
    "TableColumn",
    "arrow_schema",
    "polars_schema",
    "schema_of",
]

Kind = Literal["text", "integer", "decimal", "date", "timestamp", "boolean"]
"""What a column holds, whatever a file, a frame or a warehouse calls its type."""
Role = Literal[
    "key", "product", "price", "quantity", "amount", "date", "dimension", "currency", "attribute"
]
"""What a column means to the pipeline; an attribute is carried and means nothing to it."""
FieldName = Literal["transaction_id", "product", "price", "quantity", "date"]
MappedName = Literal["transaction_id", "product", "price", "quantity", "amount", "date"]
"""What a column of the files may be mapped to."""
Measure = Literal["rows", "amount", "quantity"]
"""What is added up over the facts."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
FIELDS: tuple[FieldName, ...] = ("transaction_id", "product", "price", "quantity", "date")
"""What every file or frame must have."""
NUMBERS: tuple[MappedName, ...] = ("price", "quantity", "amount")
"""What may be mapped with a scale."""
POSITIONS = frozenset({"$row", "$file"})
"""What stands for the number of a row in its file, and for the path of the file."""
PRICE_DIGITS = 18
AMOUNT_DIGITS = 29


class Origin(BaseModel):
    """Where the values of a field come from.

    Attributes:
        parts: Of each part that the field is joined from, the names that its column may have in a
            file, or one of `POSITIONS`. One part, but for an identifier of several columns.
        value: The value of every row, where there are no parts.
        scale: Number that each value is multiplied by, as text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[tuple[str, ...], ...] = ()
    value: str | None = None
    scale: str | None = None


class Column(BaseModel):
    """One column of a table.

    Attributes:
        name: Its name.
        kind: What it holds.
        scale: Decimals, where it holds decimals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    scale: int = 0


class TableColumn(Column):
    """One column of a table that the pipeline makes itself.

    Attributes:
        digits: Digits of a decimal, those behind the point among them, or 0 for as many as the
            warehouse has; bits of an integer.
        is_nullable: Whether a value may be missing.
        description: What it means, for the reader of a table.
    """

    digits: int = 64
    is_nullable: bool = True
    description: str = ""


class SaleColumn(TableColumn):
    """One column of a sale.

    Attributes:
        role: What it means to the pipeline.
        field: What it is called before it has a type, in a file's mapping and in the quarantine;
            None where it is computed.
        origin: Where its values come from.
        is_personal: Whether its text is replaced by a token.
        accepted: The only texts that a valid row may have; none for any.
    """

    role: Role
    field: str | None
    origin: Origin = Origin()
    is_personal: bool = False
    accepted: tuple[str, ...] = ()

    @property
    def scale_key(self) -> str:
        """The key that its decimals come from, where it has a part of its own in a sale."""
        return f"ingestion.validation.{'quantity' if self.role == 'quantity' else 'max'}_decimals"


STAMPS = (
    TableColumn(
        name="run_id", kind="text", is_nullable=False, description="Run that loaded the row."
    ),
    TableColumn(
        name="business_date",
        kind="date",
        is_nullable=False,
        description="Batch that the row came with.",
    ),
    TableColumn(
        name="superseded_by",
        kind="date",
        description="Business date of the next later row that has the same transaction_id; null "
        "where the row is visible.",
    ),
)
"""What `load` adds to each row."""
_ORIGIN = (
    TableColumn(
        name="source_file",
        kind="integer",
        digits=32,
        is_nullable=False,
        description="Ordinal of the source object within the run's plan.",
    ),
    TableColumn(
        name="source_row",
        kind="integer",
        is_nullable=False,
        description="Number of the record within its source object.",
    ),
)
"""Where a row comes from."""


@dataclass(frozen=True)
class Schema:
    """The columns of a run's sales, in the order in which every table has them.

    Attributes:
        has_returns: Whether rows with a negative amount are returns.
    """

    columns: tuple[SaleColumn, ...]
    has_returns: bool = False

    def named(self, role: Role) -> str:
        """Return the name of the column that has a role."""
        return next(column.name for column in self.columns if column.role == role)

    @property
    def grain(self) -> tuple[str, ...]:
        """Names of the columns that the marts group rows by, the date last."""
        currency = [column.name for column in self.of_role("currency")]
        return self.named("product"), *currency, self.named("date")

    @property
    def has_line_total(self) -> bool:
        """Whether amounts are read, rather than computed."""
        return self.named("amount") in self.fields

    @property
    def is_price_computed(self) -> bool:
        """Whether prices come from line totals."""
        return all(column.field is None for column in self.of_role("price"))

    @property
    def quantity_decimals(self) -> int:
        """Decimals of a quantity."""
        return self.of_role("quantity")[0].scale

    @property
    def net(self) -> dict[Measure, str]:
        """What a row adds to sums that returns are taken from, as SQL, like `measures_of_row`."""
        amount, quantity = self.named("amount"), self.named("quantity")
        net = f"case when {amount} < 0 then -abs({quantity}) else {quantity} end"
        return {"quantity": net if self.has_returns else quantity}

    def of_role(self, *roles: Role) -> tuple[SaleColumn, ...]:
        """Return the columns that have one of some roles."""
        return tuple(column for column in self.columns if column.role in roles)

    @property
    def attributes(self) -> tuple[SaleColumn, ...]:
        """The columns that the configuration adds."""
        return self.of_role("attribute", "dimension", "currency")

    @property
    def fields(self) -> dict[str, Origin]:
        """What is read of each row: our name of the field -> where it comes from."""
        return {name: column.origin for name, column in self.by_field.items()}

    @property
    def by_field(self) -> dict[str, SaleColumn]:
        """The columns that are read, by the name of their field."""
        return {column.field: column for column in self.columns if column.field}

    @property
    def compared_texts(self) -> tuple[str, ...]:
        """The fields whose texts are compared: each is taken in Unicode's normal form C."""
        return tuple(name for name, column in self.by_field.items() if column.kind == "text")

    @property
    def valid(self) -> tuple[TableColumn, ...]:
        """The columns of valid rows in the lake, which `load` takes as they are."""
        return (*self.columns, *_ORIGIN)

    @property
    def raw(self) -> tuple[TableColumn, ...]:
        """The columns of a warehouse's raw table."""
        return (*self.valid, *STAMPS)


def schema_of(config: Config) -> Schema:
    """Return the columns of a configuration's sales."""
    site = config.rules
    mapped = {name: source.origin(name) for name, source in config.ingestion.columns.items()}
    attributes = tuple(
        SaleColumn(
            name=name,
            kind=attribute.type,
            role=attribute.role or ("dimension" if attribute.dimension else "attribute"),
            field=name,
            origin=attribute.origin(name),
            is_personal=attribute.pii or name in config.security.pii_fields,
            accepted=attribute.accepted_values,
            scale=attribute.decimals if attribute.type == "decimal" else 0,
            digits=AMOUNT_DIGITS if attribute.type == "decimal" else 64,
            description=attribute.description,
        )
        for name, attribute in config.ingestion.attributes.items()
    )
    origins = tuple(sorted(mapped.items()))
    return _schema(
        site.max_decimals, site.quantity_decimals, origins, attributes, site.allow_returns
    )


@lru_cache(maxsize=64)
def _schema(
    max_decimals: int,
    quantity_decimals: int = 0,
    mapped: tuple[tuple[str, Origin], ...] = (),
    attributes: tuple[SaleColumn, ...] = (),
    has_returns: bool = False,
) -> Schema:
    origins = {name: Origin(parts=((name,),)) for name in FIELDS} | dict(mapped)
    has_total = "amount" in origins
    # With a line total and no price of its own, the price is computed from it.
    has_price = not has_total or "price" in dict(mapped)
    core = (
        SaleColumn(
            name="transaction_id",
            kind="text",
            role="key",
            field="transaction_id",
            origin=origins["transaction_id"],
            is_nullable=False,
            is_personal=True,
            description="Token of the identifier, 64 lower-case hex characters.",
        ),
        SaleColumn(
            name="product",
            kind="text",
            role="product",
            field="product",
            origin=origins["product"],
            description="Product.",
        ),
        SaleColumn(
            name="price",
            kind="decimal",
            role="price",
            field="price" if has_price else None,
            origin=origins["price"],
            digits=PRICE_DIGITS,
            scale=max_decimals,
            description="Price of one piece."
            if has_price
            else "Amount divided by quantity, rounded half away from zero.",
        ),
        SaleColumn(
            name="quantity",
            kind="decimal" if quantity_decimals else "integer",
            role="quantity",
            field="quantity",
            origin=origins["quantity"],
            digits=PRICE_DIGITS if quantity_decimals else 64,
            scale=quantity_decimals,
            description="Pieces.",
        ),
        SaleColumn(
            name="amount",
            kind="decimal",
            role="amount",
            field="amount" if has_total else None,
            origin=origins.get("amount", Origin()),
            digits=AMOUNT_DIGITS,
            scale=max_decimals,
            description="Total of the line, as the source has it."
            if has_total
            else "Price times quantity.",
        ),
        SaleColumn(
            name="sale_date",
            kind="date",
            role="date",
            field="date",
            origin=origins["date"],
            is_nullable=False,
            description="Day of the sale.",
        ),
    )
    return Schema((*core, *attributes), has_returns)


RESERVED_NAMES = frozenset(
    (
        *FIELDS,
        *(column.name for column in _schema(0).raw),
        # Columns of the quarantine and of the marts.
        *("source_uri", "line", "line_end", "byte_offset", "byte_length", "reasons"),
        *("sale_month", "expected_amount", "is_in_marts", *STAGING_FLAGS.values()),
    )
)
"""What no attribute may be called: the pipeline has columns of these names."""


def arrow_schema(columns: Iterable[TableColumn]) -> pa.Schema:  # pyright: ignore[reportUnknownParameterType]
    """Return the Arrow schema of some columns."""
    import pyarrow as pa

    def kind_of(column: TableColumn) -> pa.DataType:  # pyright: ignore[reportUnknownParameterType]
        if column.kind == "decimal":
            return pa.decimal128(column.digits, column.scale)
        return {
            "text": pa.string(),
            "integer": pa.int32() if column.digits == 32 else pa.int64(),  # noqa: PLR2004 - bits
            "date": pa.date32(),
            "timestamp": pa.timestamp("us", "UTC"),
            "boolean": pa.bool_(),
        }[column.kind]

    return pa.schema(
        [pa.field(each.name, kind_of(each), nullable=each.is_nullable) for each in columns]
    )


def polars_schema(columns: Iterable[TableColumn]) -> pl.Schema:
    """Return the Polars schema of some columns."""
    import polars as pl

    return pl.Schema(arrow_schema(columns))
