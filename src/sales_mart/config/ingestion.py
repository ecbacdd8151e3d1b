"""The section `ingestion`: how files are written, what their columns mean, what a valid row is."""

from __future__ import annotations

import codecs
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from sales_mart.config.section import ONE_OR_MANY, Section, list_of_one
from sales_mart.config.texts import ExactDecimal, Zone
from sales_mart.rows.characters import nfc
from sales_mart.rows.dates import check_date_format
from sales_mart.schema import (
    FIELDS,
    NUMBERS,
    POSITIONS,
    RESERVED_NAMES,
    FieldName,
    MappedName,
    Origin,
)

__all__ = ["Attribute", "ColumnSource", "Format", "Ingestion", "Validation"]

_LONGEST_SIGN = 8
_MOST_NAMES = 10_000


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], ONE_OR_MANY]
"""One name, or a list of them."""


class Format(Section):
    """How the files are written; of Parquet and frames only what is said of values counts."""

    type: Literal["csv", "parquet", "jsonl", "excel"] | None = None
    """Kind of the files. Default: by their bytes."""
    delimiter: str | None = None
    """Character between two fields of a CSV file. Default: comma, semicolon, tab or bar, by the
    header, when only one of them fits."""
    quote: str | None = '"'
    """Character around a field that holds delimiters or line ends; null: there is none."""
    escape: str | None = None
    """Character before a quote or delimiter that stands for itself. Default: a quote in a quoted
    field is doubled."""
    encoding: str | None = None
    """Encoding by its name in Python, such as cp1252. Default: the one of the byte order mark,
    else UTF-8."""
    header: bool | tuple[str, ...] = True
    """True: the first row names the columns. A list: their names, for files without such a row."""
    skip_rows: int = Field(default=0, ge=0, le=1_000)
    """Lines before the header."""
    sheet: str | None = None
    """Sheet of a workbook. Default: its only one."""
    decimal_separator: Literal[".", ","] = "."
    """What stands before the decimals of a number."""
    thousands: Literal[",", ".", " ", "'", "_"] | None = None
    """What stands between groups of three digits. A space stands for any space without a break."""
    currency_sign: Annotated[str, Field(min_length=1, max_length=_LONGEST_SIGN)] | None = None
    """Sign or code that may stand before or after a number, such as €."""
    null_values: Names = ()
    """Texts that mean that a value is missing, beside the empty one, to the letter."""
    date_format: Annotated[
        tuple[Annotated[str, AfterValidator(check_date_format)], ...], ONE_OR_MANY
    ] = ()
    """How dates are written, in the notation of strptime; several are tried in order. Default:
    `%Y-%m-%d`."""
    timezone: Zone | None = None
    """Time zone of the day of a time with an offset. Default: the day as it is written."""
    jagged_rows: bool = False
    """Take the fields that are missing at the end of a row for missing values."""

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or value in "\0\r\n" or not value.isascii()):
            msg = "must be one ASCII character, and no line end"
            raise ValueError(msg)
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            # Every codec of texts knows what a line end is; others, such as base64, take bytes.
            known = "\n".encode(value)
            name = codecs.lookup(value).name
        except (LookupError, ValueError, TypeError):
            known, name = b"", ""
        if not known or name in {"idna", "punycode", "undefined", "unicode_escape", "utf-7"}:
            msg = "must be an encoding of text that Python knows, such as cp1252 or utf-16"
            raise ValueError(msg)
        return name

    @field_validator("header")
    @classmethod
    def _true_or_names(cls, value: bool | tuple[str, ...]) -> bool | tuple[str, ...]:
        if value is not True and not 0 < len(value or ()) <= _MOST_NAMES:
            msg = "must be true, or a list of the columns' names for files without a header"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _all_differ(self) -> Self:
        given = [each for each in (self.delimiter, self.quote, self.escape) if each is not None]
        # An escape that is the quote itself is what doubling means.
        doubled = self.escape is not None and self.escape == self.quote
        if len(set(given)) < len(given) - doubled:
            msg = "delimiter, quote and escape must differ"
            raise ValueError(msg)
        if self.thousands == self.decimal_separator:
            msg = "thousands and decimal_separator must differ"
            raise ValueError(msg)
        return self


class ColumnPart(Section):
    """One of several columns that make an identifier together."""

    any_of: Names
    """Names of the column, of which a file must have exactly one."""


class ColumnSource(Section):
    """Where the values of a column come from."""

    shorthand: ClassVar[str] = "from"
    """What a name without a section, or a list of names, is the value of."""

    from_: Annotated[
        tuple[str | ColumnPart, ...] | None,
        BeforeValidator(
            list_of_one, json_schema_input_type=str | tuple[str | ColumnPart, ...] | None
        ),
        Field(alias="from", min_length=1),
    ] = None
    """Name of the column in the files. A list of several makes one identifier of them, in which
    `$row` is the number of the row in its file and `$file` the path of the file."""
    any_of: Names = ()
    """Names of which a file must have exactly one."""
    value: str | int | ExactDecimal | None = None
    """Value of every row, where the files have no such column."""
    scale: ExactDecimal | None = Field(default=None, gt=0)
    """Number by which each value is multiplied: 0.01 for cents."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {cls.shorthand: value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = sum((self.from_ is not None, bool(self.any_of), self.value is not None))
        if ways != 1 and not (ways == 0 and self._may_be_its_own_name):
            msg = "must have exactly one of from, any_of and value"
            raise ValueError(msg)
        if self.scale is not None and self.value is not None:
            msg = "scale has no meaning beside value"
            raise ValueError(msg)
        return self

    _may_be_its_own_name: ClassVar[bool] = False

    def origin(self, name: str) -> Origin:
        """Return where the values come from, of a column that we call `name`."""
        scale = None if self.scale is None else str(self.scale)
        if self.value is not None:
            return Origin(value=str(self.value))
        parts: list[tuple[str, ...]] = [
            (part,) if isinstance(part, str) else part.any_of for part in self.from_ or ()
        ]
        return Origin(parts=tuple(parts) or (self.any_of or (name,),), scale=scale)


def _not_taken(name: str) -> str:
    if name in RESERVED_NAMES:
        msg = f"{name} cannot be the name of an attribute: the pipeline has a column of that name"
        raise ValueError(msg)
    return name


AttributeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,56}$"), AfterValidator(_not_taken)]
"""Name of a column that the configuration adds."""


class Attribute(ColumnSource):
    """A column beside those of every sale: it is carried, loaded and shown."""

    type: Literal["text", "integer", "decimal", "date", "boolean"] = "text"
    """What it holds."""
    decimals: int = Field(default=2, ge=0, le=9)
    """Most decimals, where it holds decimals."""
    dimension: bool = False
    """Show the sums by its values in `sales_by_dimension`."""
    role: Literal["currency"] | None = None
    """What it means: a currency stands in the grain of every sum."""
    pii: bool = False
    """Replace its values by tokens."""
    accepted_values: Annotated[
        tuple[Annotated[str, Field(min_length=1), AfterValidator(nfc)], ...],
        ONE_OR_MANY,
    ] = ()
    """Values of the rows that count, to the letter, such as the states of an order that is a sale;
    rows with another value or none are rejected. Default: all."""
    description: str = ""
    """What it means, for the readers of the tables."""

    _may_be_its_own_name: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pii and (self.dimension or self.role):
            msg = "a personal column can be neither a dimension nor a currency"
            raise ValueError(msg)
        named = self.pii or self.dimension or self.role or self.accepted_values
        if named and self.type != "text":
            msg = "a personal column, a dimension, a currency or accepted_values must be text"
            raise ValueError(msg)
        if self.dimension and self.role:
            msg = "a currency is in the grain of every sum, so it is no dimension beside it"
            raise ValueError(msg)
        return self


class Validation(Section):
    """The rules of a valid transaction that a site may set."""

    min_price: Annotated[ExactDecimal, AfterValidator(abs)] = Field(
        default=Decimal(0), ge=0, max_digits=18
    )
    """Lowest valid price; a price must be above 0 in any case, but for returns and gifts."""
    max_quantity: int = Field(default=100, ge=1, le=1_000_000_000)
    """Highest valid quantity."""
    required_fields: tuple[FieldName, ...] = FIELDS
    """Fields that must be present; `transaction_id` and `date` always must."""
    product_prefix: Annotated[str, AfterValidator(nfc)] = ""
    """What a valid product's name starts with, case-sensitive."""
    max_decimals: int = Field(default=2, ge=0, le=9)
    """Most decimals of a price; the scale of every amount."""
    quantity_decimals: int = Field(default=0, ge=0, le=6)
    """Most decimals of a quantity, such as 3 for kilograms."""
    rounding: Literal["reject", "half_up"] = "reject"
    """What happens to a price or amount with more decimals: it is rejected, or rounded half away
    from zero."""
    allow_returns: bool = False
    """Take rows with a negative quantity, price or amount for returns, and those with a price of 0
    for gifts."""
    max_reject_share: float = Field(default=1.0, ge=0, le=1)
    """Share of rejected rows above which a run fails before anything is loaded."""
    max_removed_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the visible rows above which a load that takes them away is refused. Below 1, an
    input without rows needs `--allow-empty`."""

    @field_validator("required_fields")
    @classmethod
    def _always_required(cls, fields: tuple[FieldName, ...]) -> tuple[FieldName, ...]:
        missing = [name for name in ("transaction_id", "date") if name not in fields]
        if missing:
            msg = (
                f"{' and '.join(missing)} must be in it: a row without an identifier cannot be "
                "told from another, and one without a date belongs to no day"
            )
            raise ValueError(msg)
        return tuple(name for name in FIELDS if name in fields)


class Ingestion(Section):
    """How raw rows are read and checked."""

    trust_input: bool = False
    """Leave `product_prefix`, `price_too_low` and `quantity_range` to the marts."""
    format: Format = Format()
    """How the files are written."""
    columns: dict[MappedName, ColumnSource] = Field(
        default={}, examples=[{"date": "Ordered on", "amount": "Line total"}]
    )
    """What the files call our columns: ours → theirs. Default: transaction_id, product, price,
    quantity and date."""
    attributes: dict[AttributeName, Attribute] = Field(
        default={}, max_length=100, examples=[{"store": {"from": "Branch"}}]
    )
    """Columns beside those of every sale: our name → what the files call it, and its type."""
    validation: Validation = Validation()
    """The rules."""

    @field_validator("columns")
    @classmethod
    def _make_sense(cls, columns: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        for name, column in columns.items():
            parts = column.origin(name).parts
            if name != "transaction_id" and (
                len(parts) > 1 or POSITIONS & {each for part in parts for each in part}
            ):
                msg = f"{name}: only transaction_id may be made of several columns, $file or $row"
                raise ValueError(msg)
            if name == "transaction_id" and column.value is not None:
                msg = "transaction_id: one value for all rows would make duplicates of them"
                raise ValueError(msg)
            if column.scale is not None and name not in NUMBERS:
                msg = f"{name}: only numbers have a scale"
                raise ValueError(msg)
        return columns

    @field_validator("attributes")
    @classmethod
    def _at_most_one_currency(cls, attributes: dict[str, Attribute]) -> dict[str, Attribute]:
        currencies = [name for name, each in attributes.items() if each.role == "currency"]
        if len(currencies) > 1:
            msg = f"only one column can be the currency, not {' and '.join(currencies)}"
            raise ValueError(msg)
        for name, each in attributes.items():
            parts = each.origin(name).parts
            if len(parts) > 1 or (
                each.scale is not None and each.type not in {"integer", "decimal"}
            ):
                msg = f"{name}: an attribute is one column, and only numbers have a scale"
                raise ValueError(msg)
        return attributes
