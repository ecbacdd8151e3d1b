"""What a caller of `validate` asks of rows besides: expressions of Polars, and a Pydantic model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import polars as pl
from pydantic import BaseModel, ValidationError

from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.facade.compiled_models import compiled
from sales_mart.facade.frames import unquoted
from sales_mart.rows.checker import REASON_TYPE
from sales_mart.rows.frames import OWN
from sales_mart.rows.reasons import REASONS
from sales_mart.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

    from sales_mart.config import Config

__all__ = ["OwnChecks"]

_TYPES: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    dt.date: pl.Date(),
    dt.datetime: pl.Datetime("us"),
}
"""What a column of a model's field becomes."""


class OwnChecks:
    """The checks of one call, which rows get that no rule of the pipeline rejects.

    Attributes:
        carried: Columns that they need besides those of valid rows.
    """

    def __init__(
        self,
        config: Config,
        names: Sequence[str],
        rules: Mapping[str, pl.Expr] | None,
        model: type[BaseModel] | None,
    ) -> None:
        """Look whether they can be asked of a frame with columns of these names.

        Raises:
            ConfigurationError: A rule is no expression, its reason is taken, or the model is none.
            SourceFormatError: The frame lacks a column.
        """
        self._config = config
        self._rules = dict(rules or {})
        self._model = model
        schema = schema_of(config)
        self._fields = schema.by_field
        # What a valid row calls the columns that a rule or a model may name.
        self._ours = {each.name: each.name for each in schema.columns if not each.is_personal}
        self._ours |= {
            field: each.name for field, each in self._fields.items() if not each.is_personal
        }
        self._own: dict[str, str] = {}
        if model is not None:
            _check_model(model)
            self._own = _found(model, [*names, *self._ours, "transaction_id"])
        known = [*names, *self._ours, "transaction_id", "source_row"]
        wanted = [*self._own.values()]
        for reason, rule in self._rules.items():
            _check_rule(reason, rule)
            for name in rule.meta.root_names():
                if name not in [*known, *self._own]:
                    raise _lacks(name, known, f"rules: {reason}")
                wanted.append(name)
        ours = {*self._ours, "transaction_id", "source_row"}
        self.carried = [name for name in dict.fromkeys(wanted) if name in {*names} - ours]
        if "transaction_id" in self._own.values():
            self.carried.append("transaction_id")

    def __call__(self, valid: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows with the model's columns, and of each row the reasons against it."""
        carried = [name for name in valid.columns if name.startswith(OWN)]
        shown = valid.drop(carried)
        against: list[list[str]] = [[] for _ in range(valid.height)]
        values: dict[str, pl.Series] = {}
        if self._model is not None:
            values, against = self._by_model(self._model, valid)
        row = shown.select(pl.exclude("source_row"), *values.values(), "source_row")
        seen = row.with_columns(
            *(
                valid[f"{OWN}{name}"].alias(name)
                for name in self.carried
                if name not in row.columns
            ),
            *(pl.col(name).alias(field) for field, name in self._ours.items() if field != name),
        )
        passed = pl.Series([not each for each in against], dtype=pl.Boolean)
        for reason, rule in self._rules.items():
            for at in (passed & ~_holds(seen, reason, rule)).arg_true():
                against[at].append(reason)
        return row, pl.Series("reasons", against, REASON_TYPE)

    def _by_model(
        self, model: type[BaseModel], valid: pl.DataFrame
    ) -> tuple[dict[str, pl.Series], list[list[str]]]:
        """Ask the model of the rows that its compiled constraints don't let through."""
        given = pl.DataFrame(
            [self._given(valid, theirs).alias(theirs) for theirs in self._own.values()]
        )
        asked = pl.Series([True] * valid.height, dtype=pl.Boolean)
        sure = compiled(model, self._own, given.schema)
        if sure is not None and given.columns:
            with unquoted("the model's constraints cannot be computed"):
                asked = ~given.select(sure.fill_null(value=False).alias("sure"))["sure"]
        added = [name for name in model.model_fields if name not in {*self._ours, "transaction_id"}]
        values = {
            name: given[self._own[name]].to_list() if name in self._own else [None] * valid.height
            for name in added
        }
        against: list[list[str]] = [[] for _ in range(valid.height)]
        rows = given.filter(asked).to_dicts() if given.columns else [{}] * valid.height
        with unquoted("the model cannot be asked"):
            for at, row in zip(asked.arg_true(), rows, strict=True):
                try:
                    made = model.model_validate(row, context=self._config)
                except ValidationError as error:
                    against[at] = list(dict.fromkeys(_reasons(error)))
                    for name in added:
                        values[name][at] = None
                else:
                    for name in added:
                        values[name][at] = getattr(made, name)
            columns = {
                name: pl.Series(name, values[name], dtype=_type(model.model_fields[name]))
                for name in added
            }
        return columns, against

    def _given(self, valid: pl.DataFrame, name: str) -> pl.Series:
        """Return a column as the model gets it: the identifier as its text, not as its token."""
        return valid[self._ours.get(name, f"{OWN}{name}")]


def _check_model(model: object) -> None:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        msg = "model is no class of Pydantic"
        raise ConfigurationError(msg, remedy="Give a subclass of Transaction or of BaseModel.")


def _check_rule(reason: str, rule: object) -> None:
    if not isinstance(rule, pl.Expr):
        msg = f"rules: {reason} is no expression of Polars"
        raise ConfigurationError(
            msg, remedy='Write it as {"reason": pl.col("discount") < 100}, true for a valid row.'
        )
    if not reason or reason in REASONS:
        msg = f"rules: {reason!r} cannot be the reason of an own rule"
        raise ConfigurationError(msg, remedy="Give it a name that no rule of the pipeline has.")


def _lacks(name: str, known: Sequence[str], where: str) -> SourceFormatError:
    msg = f"{where}: the frame has no column {name}{hint(name, known)}"
    return SourceFormatError(msg, remedy=f"There are {', '.join(dict.fromkeys(known))}.")


def _found(model: type[BaseModel], names: Sequence[str]) -> dict[str, str]:
    """Return the model's fields that the frame has -> what the frame calls them."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        theirs = alias if isinstance(alias, str) else name
        if theirs in names:
            found[name] = theirs
        elif field.is_required():
            raise _lacks(theirs, names, f"model: {name}")
    return found


def _holds(rows: pl.DataFrame, reason: str, rule: pl.Expr) -> pl.Series:
    with unquoted(f"the rule {reason} cannot be computed"):
        made = rows.with_columns(rule.alias(f"{OWN}{reason}"))[f"{OWN}{reason}"]
    if not isinstance(made.dtype, pl.Boolean | pl.Null):
        msg = f"rules: {reason} gives {made.dtype} and not true or false"
        raise ConfigurationError(msg, remedy="Write an expression that is true for a valid row.")
    return made.cast(pl.Boolean).fill_null(value=True)


def _reasons(error: ValidationError) -> Iterator[str]:
    """Name what a model says of a row; what it says of values stays out of it."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        kind = problem["type"]
        yield kind if kind in REASONS or not problem["loc"] else f"{problem['loc'][0]}_{kind}"


def _type(field: FieldInfo) -> pl.DataType | None:
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    return _TYPES.get(kinds[0] if len(kinds) == 1 else field.annotation)
