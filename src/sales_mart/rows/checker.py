"""Columns of text into valid and rejected rows: the rules of a row, compiled for Polars."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sales_mart.errors import UnexpectedError
from sales_mart.rows import money
from sales_mart.rows.characters import normalised
from sales_mart.rows.mapping import meant
from sales_mart.rows.readers import computed_columns, readers
from sales_mart.rows.reasons import REASONS
from sales_mart.rows.rule_kinds import Present
from sales_mart.rows.rules import GATES, mart_rules, row_rules, rules
from sales_mart.rows.sums import Sums, ValidTotals
from sales_mart.schema import polars_schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from sales_mart.config import Config
    from sales_mart.rows.rule_kinds import Rule
    from sales_mart.rows.rules import RowRule
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
        self._row_rules = row_rules(config)
        self._bits = [rule.reason for rule in (*self._rules, *self._row_rules)]
        rank = {reason: place for place, reason in enumerate(REASONS)}
        # Those of the configuration's own columns stand behind the others.
        self._order = sorted(
            range(len(self._bits)), key=lambda bit: rank.get(self._bits[bit], len(rank))
        )
        self._places = {
            field: [place for place, rule in enumerate(self._rules) if rule.field == field]
            for field in dict.fromkeys(rule.field for rule in self._rules)
        }
        self._decimals = config.rules.max_decimals
        self._null_values = config.ingestion.format.null_values
        self._readers = readers(config)
        self._tokens = tuple(
            # The identifier's own tokens are those of 0.1; others are kept apart by their name.
            tokeniser.expression(field, None if column.role == "key" else column.name).alias(
                _token(field)
            )
            for field, column in schema.by_field.items()
            if column.is_personal
        )
        self._typed = tuple(
            _cast(column, self._types[column.name]).alias(_typed(field))
            for field, column in schema.by_field.items()
        )
        self._computed = computed_columns(config)
        self._results = tuple(self._field_result(field) for field in schema.fields)
        here = {rule.reason for rule in self._rules}
        everything = mart_rules(config)
        self._mart_rules = tuple(rule for rule in rules(everything) if rule.reason not in here)
        self._mart_row_rules = (
            tuple(rule for rule in row_rules(everything) if rule not in self._row_rules)
            if config.ingestion.trust_input
            else ()
        )

    def check(
        self, frame: pl.LazyFrame, typed: Collection[str] = ()
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split rows of text into valid and rejected ones.

        Args:
            frame: The fields as text, unstripped, and any columns to carry along.
            typed: Fields whose texts are those of numbers or dates that had a type already, so that
                they are not written in the configured form.

        Returns:
            Valid rows (the columns of the schema, then what was carried), and rejected rows (token
            and the other fields as text, `reasons`, then what was carried).
        """
        fields = tuple(self._schema.fields)
        readers = {name: read for name, read in self._readers.items() if name in fields}
        checked = (
            # In two steps, or each text would be stripped twice.
            frame.with_columns(pl.col(*fields).str.strip_chars())
            .with_columns(meant(pl.col(name), self._null_values).alias(name) for name in fields)
            .with_columns(normalised(pl.col(name)) for name in self._schema.compared_texts)
            .with_columns(pl.col(name).alias(_written(name)) for name in readers)
            .with_columns(
                pl.col(name).map_batches(
                    partial(read, is_typed=name in typed), return_dtype=pl.String
                )
                for name, read in readers.items()
            )
            .with_columns(*self._typed, *self._tokens)
            .with_columns(self._computed)
            .with_columns(self._results)
            .with_columns(self._row_result().alias(_result("")))
            .with_columns(pl.all_horizontal(map(_result, ("", *fields))).alias("_valid"))
            .collect()
        )
        ours = {*fields, "_valid", _result("")}
        ours |= {made(field) for field in fields for made in (_typed, _result, _token, _written)}
        ours |= {each.meta.output_name() for each in self._computed}
        carried = [name for name in checked.columns if name not in ours]
        valid = checked.filter("_valid").select(
            *(self._final(column).alias(column.name) for column in self._schema.columns), *carried
        )
        failed = checked.filter(~pl.col("_valid"))
        rejected = failed.with_columns(self._reasons(failed)).select(
            *(
                pl.col(self._shown(field, column)).alias(field)
                for field, column in self._schema.by_field.items()
            ),
            "reasons",
            *carried,
        )
        return valid, rejected

    def _shown(self, field: str, column: SaleColumn) -> str:
        """Return what shows a field of a rejected row: its token, or its text as it is written."""
        if column.is_personal:
            return _token(field)
        return _written(field) if field in self._readers else field

    def _final(self, column: SaleColumn) -> pl.Expr:
        """Return a column of valid rows."""
        if column.is_personal:
            return pl.col(_token(column.field or ""))
        return pl.col(_typed(column.field or column.role))

    def _field_result(self, field: str) -> pl.Expr:
        """Return whether all rules of a field hold."""
        text, typed = pl.col(field), pl.col(_typed(field))
        rules = [rule for rule in self._rules if rule.field == field]
        result = pl.all_horizontal(
            pl.lit(value=True), *(rule.passes(text, typed) for rule in rules)
        )
        if not any(isinstance(rule, Present) for rule in rules):
            result = text.is_null() | result
        return result.fill_null(value=False).alias(_result(field))

    def _row_result(self) -> pl.Expr:
        """Return whether all rules hold that look at several fields."""
        found = [self._row_rule_holds(rule) for rule in self._row_rules]
        return pl.all_horizontal(pl.lit(value=True), *found)

    def _row_rule_holds(self, rule: RowRule) -> pl.Expr:
        asked = pl.all_horizontal(pl.col(_result(field)) for field in rule.fields)
        holds = rule.holds(*(pl.col(_typed(field)) for field in rule.fields))
        return (~asked | holds).fill_null(value=True)

    def _reasons(self, failed: pl.DataFrame) -> pl.Series:
        """List the reasons of rejected rows; a field is looked into where it is what failed.

        Bits are cheaper than lists, and few rows differ in them: only what differs is spelt out.
        """
        reasons = self._bits
        bits = np.zeros((failed.height, len(reasons)), np.bool_)
        for field, places in self._places.items():
            rows = failed.select((~pl.col(_result(field))).arg_true()).to_series()
            asked = [self._rules[place] for place in places]
            holds = (rule.expression(pl.col(field)).alias(rule.reason) for rule in asked)
            texts = failed.lazy().select(pl.col(field).gather(rows)).with_columns(holds)
            fails = texts.select(_fails(rule, asked).alias(rule.reason) for rule in asked)
            bits[rows.to_numpy()[:, None], places] = fails.collect().to_numpy()
        for bit, rule in enumerate(self._row_rules, start=len(self._rules)):
            holds = failed.select(self._row_rule_holds(rule)).to_series()
            bits[:, bit] = ~holds.to_numpy()
        if not bits.any(axis=1).all():
            msg = "a row was rejected and no rule says why"
            raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")
        distinct, which = _distinct(bits)
        lists = [
            list(dict.fromkeys(reasons[bit] for bit in self._order if row[bit])) for row in distinct
        ]
        return pl.Series("reasons", lists, REASON_TYPE).gather(which)

    def totals(self, valid: pl.DataFrame) -> ValidTotals:
        """Add up valid rows."""
        shown = valid
        excluded: Counter[str] = Counter()
        if self._mart_rules or self._mart_row_rules:
            by_field = self._schema.by_field
            texts = valid.select(
                pl.col(column.name).cast(pl.String).alias(field)
                for field, column in by_field.items()
            )
            fails = texts.select(
                (~rule.expression(pl.col(rule.field))).fill_null(value=False).alias(rule.reason)
                for rule in self._mart_rules
            ).with_columns(
                (
                    ~valid.select(
                        rule.holds(*(pl.col(by_field[each].name) for each in rule.fields))
                    ).to_series()
                )
                .fill_null(value=False)
                .alias(rule.reason)
                for rule in self._mart_row_rules
            )
            excluded = Counter({name: int(fails[name].sum()) for name in fails.columns})
            shown = valid.filter(~fails.select(pl.any_horizontal(pl.all())).to_series())
        # A return takes its pieces away, whichever of its numbers is the negative one.
        is_return = pl.col("amount") < 0
        net = pl.when(is_return).then(-pl.col("quantity").abs()).otherwise(pl.col("quantity"))
        quantity = shown.select(net.sum()).item() or 0
        return ValidTotals(
            rows=valid.height,
            excluded=+excluded,
            shown=Sums(
                shown.height,
                money.at_scale(Decimal(str(shown["amount"].sum() or 0)), self._decimals),
                quantity if isinstance(quantity, Decimal) else int(quantity),
            ),
        )


def _token(field: str) -> str:
    return f"_{field}_token"


def _written(field: str) -> str:
    return f"_{field}_written"


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
    return text.map_batches(
        partial(_number, kind=kind, scale=column.scale), return_dtype=kind, is_elementwise=True
    )


def _number(texts: pl.Series, kind: pl.DataType, scale: int) -> pl.Series:
    """Cast texts; those where that fails once more, without the zeros that lose nothing."""
    made = texts.cast(kind, strict=False)
    missed = (made.is_null() & texts.is_not_null()).arg_true()
    if missed.is_empty():
        return made
    zeros = rf"(\.[0-9]{{{scale}}})0+$" if scale else r"\.0+$"
    shorter = texts.gather(missed).str.replace(zeros, "${1}" if scale else "")
    return made.scatter(missed, shorter.cast(kind, strict=False))


def _distinct(bits: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return the distinct rows of a matrix, and for each of its rows which of them it is."""
    words = -(-bits.shape[1] // _WORD)
    packed = np.zeros((len(bits), words * _WORD // 8), np.uint8)
    packed[:, : -(-bits.shape[1] // 8)] = np.packbits(bits, axis=1)
    # One number a row sorts faster than a string of bytes, but holds no more than its bits.
    keys = packed.view(np.uint64 if words == 1 else f"V{packed.shape[1]}").ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return bits[first], which


def _fails(rule: Rule, others: Sequence[Rule]) -> pl.Expr:
    """Return whether a rule is why a field fails, of columns that tell which of its rules hold."""
    text = pl.col(rule.field)
    if isinstance(rule, Present):
        return text.is_null()
    before = takewhile(lambda each: each is not rule, others)
    gates = [each.reason for each in before if each.reason in GATES.get(rule.field, ())]
    asked = [pl.col(gate).fill_null(value=False) for gate in gates]
    return pl.all_horizontal(text.is_not_null(), *asked, ~pl.col(rule.reason).fill_null(value=True))


def count_reasons(rejected: pl.DataFrame) -> Counter[str]:
    """Count rejected rows by reason; a row counts for each of its reasons."""
    counts = rejected["reasons"].explode().drop_nulls().value_counts()
    return Counter(dict(counts.rows()))
