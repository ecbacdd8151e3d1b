"""(a) Validate and tokenise a file: libraries that check frames, and a model row by row."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, cast

import polars as pl
from pydantic import AfterValidator, BaseModel, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

Counts = dict[str, Any]

FIELDS = ("transaction_id", "product", "price", "quantity", "date")
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
LOWEST, DECIMALS, HIGHEST, LARGEST = Decimal(10), 2, 100, 2**63 - 1
DUPLICATE = "duplicate_transaction_id"


def _rules() -> dict[str, pl.Expr]:
    """Return what must hold, by reason; null where there is nothing to check."""
    price, quantity, day = pl.col("price"), pl.col("quantity"), pl.col("date")
    plain_price = price.str.contains(r"^0*[0-9]{1,16}(\.[0-9]+)?$")
    fits = price.str.contains(r"^[0-9]+(\.[0-9]{0,2})?$")
    value = price.cast(pl.Decimal(38, 9), strict=False)
    number = quantity.cast(pl.Int64, strict=False)
    plain_quantity = quantity.str.contains("^[0-9]+$") & number.is_not_null()
    real = (
        day.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        & (day >= "0001")
        & day.str.to_date("%Y-%m-%d", strict=False).is_not_null()
    )
    return {
        **{f"missing_{name}": pl.col(name).is_not_null() for name in FIELDS},
        "product_prefix": pl.col("product").str.starts_with("Halal"),
        "price_format": price.is_null() | plain_price,
        "price_decimals": price.is_null() | ~plain_price | fits,
        "price_too_low": price.is_null() | ~plain_price | (value >= LOWEST),
        "quantity_format": quantity.is_null() | plain_quantity,
        "quantity_range": quantity.is_null() | ~plain_quantity | number.is_between(1, HIGHEST),
        "date_format": day.is_null() | real,
    }


def _read(file: str) -> pl.LazyFrame:
    import polars_hash as plh

    fields = [pl.col(name).str.strip_chars().replace("", None) for name in FIELDS]
    token = plh.col("transaction_id").chash.sha2_256().alias("token")
    frame = pl.scan_csv(file, infer_schema=False, quote_char=None)
    return frame.select(fields).with_columns(token).with_row_index("source_row")


def _write(folder: str, valid: pl.DataFrame, rejected: pl.DataFrame) -> Counts:
    """Write valid rows and quarantine; `rejected` has a column of reasons."""
    shutil.rmtree(folder, ignore_errors=True)
    out = Path(folder)
    out.mkdir(parents=True)
    first = valid["token"].is_first_distinct()
    kept = valid.filter(first).select(
        pl.col("token").alias("transaction_id"),
        "product",
        pl.col("price").cast(pl.Decimal(18, 2)),
        pl.col("quantity").cast(pl.Int64),
        pl.col("date").str.to_date("%Y-%m-%d").alias("sale_date"),
        "source_row",
    )
    again = valid.filter(~first).with_columns(pl.concat_list(pl.lit(DUPLICATE)).alias("reasons"))
    columns = ["token", *FIELDS[1:], "source_row", "reasons"]
    quarantine = pl.concat([rejected.select(columns), again.select(columns)])
    kept.write_parquet(out / "valid.parquet", compression="uncompressed")
    quarantine.write_parquet(out / "quarantine.parquet", compression="uncompressed")
    counts = quarantine["reasons"].explode().value_counts()
    return {
        "valid": kept.height,
        "rejected": quarantine.height,
        "reasons": dict(sorted(counts.rows())),
    }


def dataframely(file: str, folder: str, **_: object) -> Counts:
    """Let a schema with one rule per reason filter the frame."""
    import dataframely as dy

    def rule(expression: pl.Expr) -> Any:
        def check(_: type[dy.Schema]) -> pl.Expr:
            return expression.fill_null(value=True)

        return dy.rule()(check)

    columns = {name: dy.String(nullable=True) for name in ("token", *FIELDS)}
    rules = {reason: rule(expression) for reason, expression in _rules().items()}
    schema = type("Transactions", (dy.Schema,), {"source_row": dy.UInt32(), **columns, **rules})
    valid, failure = schema.filter(_read(file).collect(), cast=False)
    details = failure.details()
    reasons = pl.concat_list(
        pl.when(pl.col(reason).cast(pl.String) == "invalid").then(pl.lit(reason))
        for reason in _rules()
    ).list.drop_nulls()
    return _write(folder, valid, details.with_columns(reasons.alias("reasons")))


def pandera(file: str, folder: str, **_: object) -> Counts:
    """Collect every failure of every check, then split the frame by them."""
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    def check(reason: str, expression: pl.Expr) -> pa.Check:
        def check(data: Any) -> pl.LazyFrame:
            return data.lazyframe.select(expression.fill_null(value=True).alias(reason))

        return pa.Check(check, name=reason)

    checks = [check(reason, expression) for reason, expression in _rules().items()]
    columns = {name: pa.Column(pl.String, nullable=True) for name in ("token", *FIELDS)}
    schema = pa.DataFrameSchema({"source_row": pa.Column(pl.UInt32), **columns}, checks=checks)
    frame = _read(file).collect()
    try:
        schema.validate(frame, lazy=True)
        failures = pl.DataFrame(schema={"index": pl.UInt32, "check": pl.String})
    except SchemaErrors as error:
        failures = error.failure_cases.select(pl.col("index").cast(pl.UInt32), "check")
    by_row = failures.group_by(source_row="index").agg(pl.col("check").unique().alias("reasons"))
    valid = frame.join(by_row, on="source_row", how="anti", maintain_order="left")
    return _write(folder, valid, frame.join(by_row, on="source_row"))


def pydantic(file: str, **_: object) -> Counts:
    """Validate one model per row, as a service would; a field tells its first reason only."""
    seen: set[str] = set()
    kept = quarantined = 0
    reasons: Counter[str] = Counter()
    with Path(file).open(encoding="utf-8", newline="") as stream:
        for fields in csv.DictReader(stream, quoting=csv.QUOTE_NONE):
            try:
                row = Row.model_validate(fields)
            except ValidationError as error:
                quarantined += 1
                reasons.update(each["type"] for each in error.errors())
                continue
            token = hashlib.sha256(row.transaction_id.encode()).hexdigest()
            quarantined += token in seen
            kept += token not in seen
            seen.add(token)
    return {"valid": kept, "rejected": quarantined}


def _present(text: str, info: ValidationInfo) -> str:
    text = text.strip(SPACES)
    if not text:
        raise REJECTED[f"missing_{info.field_name}"]
    return text


def _prefixed(text: str) -> str:
    if not text.startswith("Halal"):
        raise REJECTED["product_prefix"]
    return text


def _price(text: str) -> Decimal:
    if not re.fullmatch(r"0*[0-9]{1,16}(\.[0-9]+)?", text):
        raise REJECTED["price_format"]
    value = Decimal(text)
    if len(text.partition(".")[2]) > DECIMALS:
        raise REJECTED["price_decimals"]
    if value < LOWEST:
        raise REJECTED["price_too_low"]
    return value


def _quantity(text: str) -> int:
    if not re.fullmatch("[0-9]+", text) or int(text) > LARGEST:
        raise REJECTED["quantity_format"]
    if not 1 <= int(text) <= HIGHEST:
        raise REJECTED["quantity_range"]
    return int(text)


def _day(text: str) -> date:
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise REJECTED["date_format"]
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise REJECTED["date_format"] from None


REJECTED = {reason: PydanticCustomError(cast("Any", reason), "rejected") for reason in _rules()}


class Row(BaseModel):
    """A transaction as a user of Pydantic would write it."""

    transaction_id: Annotated[str, AfterValidator(_present)]
    product: Annotated[str, AfterValidator(_present), AfterValidator(_prefixed)]
    price: Annotated[str, AfterValidator(_present), AfterValidator(_price)]
    quantity: Annotated[str, AfterValidator(_present), AfterValidator(_quantity)]
    date: Annotated[str, AfterValidator(_present), AfterValidator(_day)]
