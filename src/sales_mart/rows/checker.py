"""Columns of text into verdicts: the rules of `transaction`, compiled for Polars."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.config import FIELDS
from sales_mart.rows import money
from sales_mart.rows.characters import normalised
from sales_mart.rows.transaction import GATES, NORMALISED, Present, mart_rules, rules

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.rows.tokens import Tokeniser
    from sales_mart.rows.transaction import Rule

__all__ = ["REASON_TYPE", "CleanTotals", "Judge", "count_reasons"]

REASON_TYPE = pl.List(pl.String)
_TYPED = {"price": "_price", "quantity": "_quantity", "date": "_date"}
_VERDICTS = {field: f"_{field}_holds" for field in FIELDS}


@dataclass
class CleanTotals:
    """What the clean rows come to, and which of them no mart shows.

    Attributes:
        rows: Clean rows.
        outside: Rows that no mart shows, by reason.
        rows_outside: The same rows, each once.
        amount: Sum of price x quantity of the rows that the marts show.
        quantity: Sum of their quantity.
    """

    rows: int
    outside: Counter[str]
    rows_outside: int
    amount: Decimal
    quantity: int

    @staticmethod
    def none() -> CleanTotals:
        """Give the totals of no rows."""
        return CleanTotals(0, Counter(), 0, Decimal(0), 0)

    def add(self, other: CleanTotals, sign: int = 1) -> None:
        """Add, or with -1 take away, other totals."""
        self.rows += sign * other.rows
        for reason, count in other.outside.items():
            self.outside[reason] += sign * count
        self.rows_outside += sign * other.rows_outside
        self.amount = money.add(self.amount, other.amount, sign)
        self.quantity += sign * other.quantity


class Judge:
    """Judges frames under one configuration."""

    def __init__(self, config: Config, tokeniser: Tokeniser) -> None:
        """Compile the rules."""
        self._rules = rules(config)
        self._decimals = config.rules.max_decimals
        self._token = tokeniser.expression("transaction_id")
        self._typed = (
            pl.col("price").cast(pl.Decimal(18, self._decimals), strict=False).alias("_price"),
            pl.col("quantity").cast(pl.Int64, strict=False).alias("_quantity"),
            pl.col("date").str.to_date("%Y-%m-%d", strict=False).alias("_date"),
        )
        self._verdicts = tuple(self._field_verdict(config, field) for field in FIELDS)
        here = {rule.reason for rule in self._rules}
        self._mart_rules = tuple(
            rule for rule in rules(mart_rules(config)) if rule.reason not in here
        )

    def judge(self, frame: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split rows of text into clean and rejected ones.

        Args:
            frame: The five fields as text, unstripped, and any columns to carry along.

        Returns:
            Clean rows (token, product, price, quantity, sale_date, then what was carried), and
            rejected rows (token and the other fields as text, `reasons`, then what was carried).
        """
        stripped = [pl.col(name).str.strip_chars() for name in FIELDS]
        present = [pl.when(pl.col(n).str.len_bytes() > 0).then(pl.col(n)).alias(n) for n in FIELDS]
        judged = (
            frame.with_columns(stripped)
            .with_columns(present)
            .with_columns(normalised(pl.col(name)) for name in NORMALISED)
            .with_columns(*self._typed, self._token.alias("_token"))
            .with_columns(self._verdicts)
            .with_columns(pl.all_horizontal(_VERDICTS.values()).alias("_valid"))
            .collect()
        )
        ours = (*FIELDS, *_TYPED.values(), *_VERDICTS.values(), "_valid", "_token")
        carried = [name for name in judged.columns if name not in ours]
        clean = judged.filter("_valid").select(
            pl.col("_token").alias("transaction_id"),
            "product",
            pl.col("_price").alias("price"),
            pl.col("_quantity").alias("quantity"),
            pl.col("_date").alias("sale_date"),
            *carried,
        )
        failed = judged.filter(~pl.col("_valid"))
        rejected = failed.with_columns(self._spell(self._masks(failed))).select(
            pl.col("_token").alias("transaction_id"), *FIELDS[1:], "reasons", *carried
        )
        return clean, rejected

    def _field_verdict(self, config: Config, field: str) -> pl.Expr:
        """Tell whether all rules of a field hold."""
        text, typed = pl.col(field), pl.col(_TYPED.get(field, field))
        rules = [rule for rule in self._rules if rule.field == field]
        verdict = pl.all_horizontal(
            pl.lit(value=True), *(rule.verdict(text, typed) for rule in rules)
        )
        if field not in config.rules.required_fields:
            verdict = text.is_null() | verdict
        return verdict.fill_null(value=False).alias(_VERDICTS[field])

    def _masks(self, failed: pl.DataFrame) -> npt.NDArray[np.uint16]:
        """Set a bit for each rule that fails; a field is looked into where it is what failed.

        Masks are cheaper than lists, and few of them ever differ.
        """
        masks = np.zeros(failed.height, np.uint16)
        for field in FIELDS:
            rows = failed.select((~pl.col(_VERDICTS[field])).arg_true()).to_series()
            rules = [(bit, rule) for bit, rule in enumerate(self._rules) if rule.field == field]
            gate = next((rule for _, rule in rules if rule.reason in GATES.values()), None)
            texts = failed.select(pl.col(field).gather(rows))
            flags = texts.select(_fails(rule, gate).alias(rule.reason) for _, rule in rules)
            for bit, rule in rules:
                masks[rows.to_numpy()] |= flags[rule.reason].to_numpy().astype(np.uint16) << bit
        return masks

    def _spell(self, masks: npt.NDArray[np.uint16]) -> pl.Series:
        """Spell out masks as lists of reasons."""
        distinct, places = np.unique(masks, return_inverse=True)
        lists = [
            [rule.reason for bit, rule in enumerate(self._rules) if mask >> bit & 1]
            for mask in distinct.tolist()
        ]
        return pl.Series("reasons", lists, REASON_TYPE).gather(places)

    def totals(self, clean: pl.DataFrame) -> CleanTotals:
        """Add up clean rows."""
        shown = clean
        outside: Counter[str] = Counter()
        if self._mart_rules:
            texts = clean.select(
                "product", pl.col("price").cast(pl.String), pl.col("quantity").cast(pl.String)
            )
            fails = texts.select(
                (~rule.expression(pl.col(rule.field))).fill_null(value=False).alias(rule.reason)
                for rule in self._mart_rules
            )
            outside = Counter({name: int(fails[name].sum()) for name in fails.columns})
            shown = clean.filter(~fails.select(pl.any_horizontal(pl.all())).to_series())
        amount = (shown["price"] * shown["quantity"]).sum()
        return CleanTotals(
            rows=clean.height,
            outside=+outside,
            rows_outside=clean.height - shown.height,
            amount=money.at_scale(Decimal(str(amount or 0)), self._decimals),
            quantity=int(shown["quantity"].sum()),
        )


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
