"""The constraints of a Pydantic model as expressions of Polars, where they can be told in both."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from sales_mart.rows.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

__all__ = ["compiled"]

_TYPES: dict[str, tuple[type[pl.DataType], ...]] = {
    "str": (pl.String,),
    "int": (pl.Int64,),
    "float": (pl.Float64,),
    "bool": (pl.Boolean,),
    "date": (pl.Date,),
    "decimal": (pl.Decimal,),
}
"""Pydantic's types -> those of columns whose values they take as they are."""
_BOUNDS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_CONSTRAINTS: dict[str, dict[str, Callable[[pl.Expr, Any], pl.Expr]]] = {
    "str": {
        "min_length": lambda text, length: text.str.len_chars() >= length,
        "max_length": lambda text, length: text.str.len_chars() <= length,
        "pattern": lambda text, pattern: text.str.contains(pattern),  # both use Rust's
    },
    "int": _BOUNDS,
    "date": _BOUNDS,
    "decimal": _BOUNDS,
}
"""What of Pydantic's constraints Polars says alike. NaN it orders in another way."""
_WITHOUT_EFFECT = {"type", "metadata", "ref", "strict"}
_SETTINGS = {"title", "frozen", "extra_fields_behavior", "hide_input_in_errors"}
"""Settings of a model that change nothing in what it accepts of the fields it names."""


def compiled(
    model: type[BaseModel], columns: Mapping[str, str], types: Mapping[str, pl.DataType]
) -> pl.Expr | None:
    """Return what is true of rows that a model accepts as they are; None where it cannot be told.

    Args:
        model: The model. What it says of any other row is for itself to say.
        columns: Its fields -> the columns that hold their values.
        types: Types of the columns.
    """
    schema: dict[str, Any] = cast("Any", model.__pydantic_core_schema__)
    if schema["type"] == "function-before":
        check = getattr(schema["function"]["function"], "__func__", None)
        if check is not getattr(Transaction._check, "__func__", None):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            return None
        schema = schema["schema"]  # the rows that are asked about have passed these rules
    if (
        schema["type"] != "model"
        or any(schema.get(key) for key in ("custom_init", "post_init", "root_model"))
        or not _SETTINGS.issuperset(schema.get("config") or {})
        or schema["schema"]["type"] != "model-fields"
    ):
        return None
    checks: list[pl.Expr] = [pl.lit(value=True)]
    for name, field in schema["schema"]["fields"].items():
        column = columns.get(name)
        check = None if column is None else _check(field["schema"], pl.col(column), types[column])
        if check is None:
            return None
        checks.append(check)
    return pl.all_horizontal(checks)


def _check(schema: Mapping[str, Any], column: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    kind = schema["type"]
    if kind in {"default", "nullable"}:
        check = _check(schema["schema"], column, dtype)
        return check if check is None or kind == "default" else column.is_null() | check
    constraints = _CONSTRAINTS.get(kind, {})
    given = {name: bound for name, bound in schema.items() if name not in _WITHOUT_EFFECT}
    if not isinstance(dtype, _TYPES.get(kind, ())) or not given.keys() <= constraints.keys():
        return None
    checks = [constraints[name](column, bound) for name, bound in given.items()]
    return column.is_not_null() & pl.all_horizontal(pl.lit(value=True), *checks)
