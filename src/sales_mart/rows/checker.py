"""Columns of text into valid and rejected rows: the rules of a row, compiled for Polars."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sales_mart.errors import UnexpectedError
from sales_mart.rows import money
from sales_mart.rows.characters import normalised
from sales_mart.rows.rules import GATES, Present, mart_rules, rules
from sales_mart.rows.sums import Sums, ValidTotals
from sales_mart.schema import polars_schema, schema_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from sales_mart.config import Config
    from sales_mart.rows.rules import Rule
    from sales_mart.rows.tokens import Tokeniser
    from sales_mart.schema import SaleColumn

__all__ = ["REASON_TYPE", "Checker", "count_reasons"]

REASON_TYPE = pl.List(pl.String)
_WORD = 64


class Checker:
    """Checks frames under one configuration."""

    def __init__(self, config: Config, tokeniser: Tokeniser) -> None:
        """Compile the rules."""
        self._schema = schema = schema_of(config)
        self._types = polars_schema(schema.valid)
        self._rules = rules(config)
        self._decimals = config.rules.max_decimals
        self._token = tokeniser.expression("transaction_id")
        self._typed = tuple(
            _cast(column, self._types[column.name]).alias(_typed(field))
            for field, column in schema.by_field.items()
        )
        self._results = tuple(self._field_result(config, field) for field in schema.fields)
        here = {rule.reason for rule in self._rules}
        self._mart_rules = tuple(
            rule for rule in rules(mart_rules(config)) if rule.reason not in here
        )

    def check(self, frame: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split rows of text into valid and rejected ones.

        Args:
            frame: The fields as text, unstripped, and any columns to carry along.

        Returns:
            Valid rows (the columns of the schema, then what was carried), and rejected rows (token
            and the other fields as text, `reasons`, then what was carried).
        """
        fields = tuple(self._schema.fields)
        stripped = [pl.col(name).str.strip_chars() for name in fields]
        present = [pl.when(pl.col(n).str.len_bytes() > 0).then(pl.col(n)).alias(n) for n in fields]
        checked = (
            frame.with_columns(stripped)
            .with_columns(present)
            .with_columns(normalised(pl.col(name)) for name in self._schema.compared_texts)
            .with_columns(*self._typed, self._token.alias("_token"))
            .with_columns(self._results)
            .with_columns(pl.all_horizontal(map(_result, fields)).alias("_valid"))
            .collect()
        )
        ours = {*fields, *map(_typed, fields), *map(_result, fields), "_valid", "_token"}
        carried = [name for name in checked.columns if name not in ours]
        valid = checked.filter("_valid").select(
            *(self._final(column).alias(column.name) for column in self._schema.columns), *carried
        )
        failed = checked.filter(~pl.col("_valid"))
        rejected = failed.with_columns(self._reasons(failed)).select(
            *(
                (pl.col("_token") if column.is_personal else pl.col(field)).alias(field)
                for field, column in self._schema.by_field.items()
            ),
            "reasons",
            *carried,
        )
        return valid, rejected

    def _final(self, column: SaleColumn) -> pl.Expr:
        """Return a column of valid rows."""
        if column.role == "amount":
            # Where `trust_input` lets huge numbers through, it is null; no mart shows those rows.
            product = pl.col(_typed("price")) * pl.col(_typed("quantity"))
            return product.cast(self._types[column.name], strict=False)
        return pl.col("_token") if column.is_personal else pl.col(_typed(column.field or ""))

    def _field_result(self, config: Config, field: str) -> pl.Expr:
        """Return whether all rules of a field hold."""
        text, typed = pl.col(field), pl.col(_typed(field))
        rules = [rule for rule in self._rules if rule.field == field]
        result = pl.all_horizontal(
            pl.lit(value=True), *(rule.passes(text, typed) for rule in rules)
        )
        if field not in config.rules.required_fields:
            result = text.is_null() | result
        return result.fill_null(value=False).alias(_result(field))

    def _reasons(self, failed: pl.DataFrame) -> pl.Series:
        """List the reasons of rejected rows; a field is looked into where it is what failed.

        Bits are cheaper than lists, and few rows differ in them: only what differs is spelt out.
        """
        bits = np.zeros((failed.height, len(self._rules)), np.bool_)
        for field in self._schema.fields:
            rows = failed.select((~pl.col(_result(field))).arg_true()).to_series()
            rules = [(bit, rule) for bit, rule in enumerate(self._rules) if rule.field == field]
            gate = next((rule for _, rule in rules if rule.reason in GATES.values()), None)
            texts = failed.select(pl.col(field).gather(rows))
            flags = texts.select(_fails(rule, gate).alias(rule.reason) for _, rule in rules)
            for bit, rule in rules:
                bits[rows.to_numpy(), bit] = flags[rule.reason].to_numpy()
        if not bits.any(axis=1).all():
            msg = "a row was rejected and no rule says why"
            raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")
        distinct, which = _distinct(bits)
        lists = [
            [rule.reason for bit, rule in enumerate(self._rules) if row[bit]] for row in distinct
        ]
        return pl.Series("reasons", lists, REASON_TYPE).gather(which)

    def totals(self, valid: pl.DataFrame) -> ValidTotals:
        """Add up valid rows."""
        shown = valid
        excluded: Counter[str] = Counter()
        if self._mart_rules:
            texts = valid.select(
                pl.col(column.name).cast(pl.String).alias(field)
                for field, column in self._schema.by_field.items()
            )
            fails = texts.select(
                (~rule.expression(pl.col(rule.field))).fill_null(value=False).alias(rule.reason)
                for rule in self._mart_rules
            )
            excluded = Counter({name: int(fails[name].sum()) for name in fails.columns})
            shown = valid.filter(~fails.select(pl.any_horizontal(pl.all())).to_series())
        return ValidTotals(
            rows=valid.height,
            excluded=+excluded,
            shown=Sums(
                shown.height,
                money.at_scale(Decimal(str(shown["amount"].sum() or 0)), self._decimals),
                int(shown["quantity"].sum()),
            ),
        )


def _typed(field: str) -> str:
    return f"_{field}"


def _result(field: str) -> str:
    return f"_{field}_holds"


def _cast(column: SaleColumn, kind: pl.DataType) -> pl.Expr:
    """Return a field of text as what its column holds, null where it cannot be."""
    text = pl.col(column.field or "")
    if column.kind == "text":
        return text
    if column.kind == "date":
        return text.str.to_date("%Y-%m-%d", strict=False)
    if column.kind == "boolean":
        return text.str.to_lowercase() == "true"
    return text.cast(kind, strict=False)


def _distinct(bits: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return the distinct rows of a matrix, and for each of its rows which of them it is."""
    words = -(-bits.shape[1] // _WORD)
    packed = np.zeros((len(bits), words * _WORD // 8), np.uint8)
    packed[:, : -(-bits.shape[1] // 8)] = np.packbits(bits, axis=1)
    # One number a row sorts faster than a string of bytes, but holds no more than its bits.
    keys = packed.view(np.uint64 if words == 1 else f"V{packed.shape[1]}").ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return bits[first], which


def _fails(rule: Rule, gate: Rule | None) -> pl.Expr:
    text = pl.col(rule.field)
    if isinstance(rule, Present):
        return text.is_null()
    if gate is not None and gate is not rule:
        text = pl.when(gate.expression(text)).then(text)
    return text.is_not_null() & ~rule.expression(text).fill_null(value=True)


def count_reasons(rejected: pl.DataFrame) -> Counter[str]:
    """Count rejected rows by reason; a row counts for each of its reasons."""
    counts = rejected["reasons"].explode().drop_nulls().value_counts()
    return Counter(dict(counts.rows()))
