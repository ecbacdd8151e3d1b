"""Frames of any kind into validated ones of the same kind: pandas, Polars and pyarrow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import polars as pl

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.rows.characters import normalised
from sales_mart.rows.checker import Checker, count_reasons
from sales_mart.rows.identity import contents, reason_of
from sales_mart.rows.mapping import Unmapped, fields_of, map_columns, normal_name, wanted_names
from sales_mart.rows.tokens import tokeniser, warn_of_plain_tokens
from sales_mart.rows.transaction import strip
from sales_mart.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from sales_mart.schema import Origin, Schema

__all__ = [
    "OWN",
    "OwnCheck",
    "ValidationResult",
    "check_frame",
    "settled",
    "text_of",
    "validate_frame",
]

OWN = "own:"
"""What stands before the names of columns that are carried along for a caller's own checks."""
OwnCheck = Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.Series]]
"""Gets valid rows with the columns that are carried along, in order, and gives these rows as they
are to be shown, and of each row the reasons to reject it after all."""

F = TypeVar("F", "pl.DataFrame", "pl.LazyFrame", "pd.DataFrame", "pa.Table")


@dataclass(frozen=True)
class ValidationResult(Generic[F]):
    """Rows that passed, rows that did not, and why. No raw identifier is in it.

    Attributes:
        valid: transaction_id (token), product, price (decimal), quantity (int64), amount
            (decimal), sale_date, the configured attributes, source_row.
        rejected: transaction_id (token), product, price, quantity, date and the attributes (text),
            reasons (list), source_row.
        counts: Rejected rows by reason; a row counts for each of its reasons.
        rows_read: Rows of the input: `rows_valid + rows_rejected`.
        rows_valid: Rows in `valid`.
        rows_rejected: Rows in `rejected`.
    """

    valid: F
    rejected: F
    counts: dict[str, int]
    rows_read: int
    rows_valid: int
    rows_rejected: int


def validate_frame(frame: F, config: Config | None = None) -> ValidationResult[F]:
    """Check the rows of a frame and make tokens of its identifiers; deprecated for `validate`.

    Args:
        frame: A pandas, Polars (eager or lazy) or pyarrow table with the columns transaction_id,
            product, price, quantity and date, and those of `ingestion.attributes`, of text or of
            their natural types. Other columns are ignored. `source_row` counts its rows from 1.
        config: The configuration. Default: the default configuration.

    Returns:
        Frames of the kind that was given.

    Raises:
        SourceFormatError: A column is missing, stands twice, or cannot be read as text.
        ConfigurationError: The key is missing, weak, or given without an algorithm; or this is no
            frame.
    """
    warnings.warn(
        "validate_frame is deprecated: use sales_mart.validate", DeprecationWarning, stacklevel=2
    )
    made: Any = check_frame(frame, config or Config())
    return replace(made, valid=_like(frame, made.valid), rejected=_like(frame, made.rejected))


def check_frame(  # pyright: ignore[reportUnknownParameterType]
    frame: object, config: Config, carried: Sequence[str] = (), own: OwnCheck | None = None
) -> ValidationResult[pl.DataFrame]:
    """Check the rows of a pandas, Polars or pyarrow table and make tokens of its identifiers.

    Args:
        frame: The table.
        config: The configuration.
        carried: Columns of a table of Polars that `own` gets besides, with `OWN` before the name;
            of a field of a sale it gets the text.
        own: More reasons to reject a row; duplicates are settled after it.

    Raises:
        SourceFormatError: A column is missing, stands twice, or cannot be read as text.
        ConfigurationError: The key is missing, weak, or given without an algorithm; or this is no
            table.
    """
    schema = schema_of(config)
    texts, typed = _texts(frame, schema.fields, config.ingestion.format.null_values)
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("source_row")
    tokens = tokeniser(config)
    warn_of_plain_tokens(config)
    besides = _besides(frame, texts, carried)
    given = texts.lazy().with_columns(row, *besides)
    valid, rejected = Checker(config, tokens).check(given, typed)
    rejected = rejected.drop(each.name for each in besides)
    if own is not None:
        valid, reasons = own(valid)
        failed = reasons.list.len() > 0
        rejected = _moved(rejected, valid.filter(failed), schema, reasons.filter(failed))
        valid = valid.filter(~failed)
    return settled(valid, rejected, schema)


def settled(  # pyright: ignore[reportUnknownParameterType]
    valid: pl.DataFrame, rejected: pl.DataFrame, schema: Schema
) -> ValidationResult[pl.DataFrame]:
    """Reject all but the first of the valid rows that have one identifier, and count.

    Args:
        valid: Rows that pass the rules of a row, in their order.
        rejected: Those that do not.
        schema: The columns of both.
    """
    first = valid["transaction_id"].is_first_distinct()
    told = valid.select("transaction_id", contents(schema))
    differs = pl.col("contents") != pl.col("contents").first().over("transaction_id")
    reasons = told.select(pl.concat_list(reason_of(differs)).alias("reasons"))["reasons"]
    rejected = _moved(rejected, valid.filter(~first), schema, reasons.filter(~first))
    rejected = rejected.sort("source_row")
    valid = valid.filter(first)
    return ValidationResult(
        valid=valid,
        rejected=rejected,
        counts=dict(sorted(count_reasons(rejected).items())),
        rows_read=valid.height + rejected.height,
        rows_valid=valid.height,
        rows_rejected=rejected.height,
    )


def _moved(
    rejected: pl.DataFrame, rows: pl.DataFrame, schema: Schema, reasons: pl.Series | pl.Expr
) -> pl.DataFrame:
    """Add rows that passed the rules of a row to those that are rejected."""
    fields = schema.by_field.items()
    made = rows.select(
        *(pl.col(column.name).cast(pl.String).alias(field) for field, column in fields),
        reasons.alias("reasons"),
        "source_row",
    )
    return pl.concat([rejected, made])


def _besides(frame: object, texts: pl.DataFrame, names: Sequence[str]) -> list[pl.Series]:
    """Return the columns that are carried along."""
    theirs = [name for name in names if name not in texts.columns]
    with _unquoted():
        found = cast("pl.DataFrame", frame).lazy().select(theirs).collect() if theirs else texts
    fields = texts.select(normalised(pl.col(pl.String).str.strip_chars()))
    return [
        (fields if name in fields.columns else found)[name].alias(f"{OWN}{name}") for name in names
    ]


def _texts(
    frame: object, fields: Mapping[str, Origin], null_values: Sequence[str]
) -> tuple[pl.DataFrame, frozenset[str]]:
    """Return the fields of any frame as text, and those that had a type of their own.

    Args:
        frame: The frame.
        fields: Our name of each field -> the columns that it comes from.
        null_values: Texts that mean that a value is missing.
    """
    kind = type(frame).__module__.partition(".")[0]
    if kind not in {"polars", "pandas", "pyarrow"}:
        msg = f"{type(frame).__name__} is not a pandas, Polars or pyarrow table"
        raise ConfigurationError(msg, remedy="Convert it to one of them first.")
    found = cast("Any", frame)
    if kind == "polars":
        with _unquoted():
            names = list(found.lazy().collect_schema().names())
    else:
        names = [str(name) for name in (found.columns if kind == "pandas" else found.column_names)]
    try:
        # Nothing is added up here, so a currency that is not carried is not looked at.
        mapped = replace(map_columns([normal_name(name) for name in names], fields), currency=None)
    except Unmapped as problem:
        if problem.missing:
            wanted = ", ".join(" or ".join(part) for part in wanted_names(fields))
            msg = f"the frame lacks the columns {', '.join(problem.missing)}"
            raise SourceFormatError(msg, remedy=f"It must have the columns {wanted}.") from None
        msg = f"the frame names {', '.join(problem.twice)}"
        raise SourceFormatError(msg, remedy=problem.remedy) from None
    places = mapped.columns
    chosen = [names[place] for place in places]
    if kind == "pyarrow":
        found = cast("pl.DataFrame", pl.from_arrow(found.select(chosen)))
    if kind == "polars":
        with _unquoted():
            found = found.lazy().select(chosen).collect()
    ours = {
        place: field
        for field, parts in reversed(list(mapped.parts.items()))
        for place in parts
        if isinstance(place, int)
    }
    columns = [
        (place, found[name], _column(found[name], kind, ours[place]))
        for place, name in zip(places, chosen, strict=True)
    ]
    height = len(found)
    texts = pl.DataFrame({f"c{place}": text for place, _, text in columns}).with_columns(
        pl.int_range(1, height + 1, dtype=pl.Int64).alias("$row")
    )
    typed = {place for place, series, _ in columns if not _is_text(series, kind)}
    return (
        texts.select(
            fields_of(
                mapped,
                {place: pl.col(f"c{place}") for place in places},
                {"$row": pl.col("$row"), "$file": pl.lit("")},
                null_values,
            )
        ),
        frozenset(name for name, parts in mapped.parts.items() if typed.issuperset(parts)),
    )


def _is_text(series: Any, kind: str) -> bool:
    """Return whether a column holds texts, or anything that Python has, texts among them."""
    if kind == "pandas":
        return bool(series.dtype == object) or str(series.dtype).startswith(("str", "category"))
    return series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Object)


@contextmanager
def _unquoted() -> Generator[None]:
    """Keep what Polars says of a plan's values out of the error."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of Polars, or of a function in the plan
        msg = f"the lazy frame cannot be computed: {type(error).__name__}"
        raise SourceFormatError(
            msg, remedy="Collect it before it is given, to see Polars' own words."
        ) from None


def _column(series: Any, kind: str, name: str) -> pl.Series:
    try:
        return _from_pandas(series) if kind == "pandas" else text_of(series)
    except Exception:  # noqa: BLE001 - of Polars, pyarrow, pandas, or of an object in the column
        # Their words are left out: they may quote a value. So may the type, of an enumeration.
        kind_of_column = type(series.dtype).__name__
        msg = f"the column {name}, of type {kind_of_column}, cannot be read as text"
        raise SourceFormatError(
            msg, remedy="Give it as text in UTF-8, as numbers or as dates."
        ) from None


def _from_pandas(series: Any) -> pl.Series:
    if series.dtype == object:
        missing = series.isna().tolist()
        values = zip(series.tolist(), missing, strict=True)
        texts = [None if absent else strip(_single(value)) for value, absent in values]
        return pl.Series(str(series.name), texts, dtype=pl.String)
    return text_of(pl.from_pandas(series, nan_to_null=True))


def _single(value: object) -> object:
    """Let no list, set or bytes through: their text would be Python's way to write them."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        raise pl.exceptions.InvalidOperationError
    return value


def text_of(series: pl.Series) -> pl.Series:
    """Return a column as text: see `transaction.strip`, which does the same for one value."""
    dtype = series.dtype
    if dtype.is_nested():
        raise pl.exceptions.InvalidOperationError
    if dtype == pl.String or dtype.is_integer() or dtype == pl.Null:
        return series.cast(pl.String)
    if dtype == pl.Date:
        return series.dt.to_string("%Y-%m-%d")
    if dtype.is_decimal():
        text = series.cast(pl.String)
        short = text.str.strip_chars_end("0").str.strip_chars_end(".")
        return pl.select(
            pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text)
        ).to_series()
    if dtype.is_float() or dtype.is_temporal() or dtype == pl.Object:
        # Few columns and few distinct values: one definition of the text beats a fast second one.
        distinct = series.unique()
        texts = [strip(value) for value in distinct.to_list()]
        return series.replace_strict(distinct, pl.Series(texts, dtype=pl.String), default=None)
    return series.cast(pl.String, strict=False)


def _like(frame: F, made: pl.DataFrame) -> F:
    kind = type(frame).__module__.partition(".")[0]
    if kind == "pandas":
        return cast("F", made.to_pandas())
    if kind == "pyarrow":
        return cast("F", made.to_arrow())
    return cast("F", made.lazy() if isinstance(frame, pl.LazyFrame) else made)
