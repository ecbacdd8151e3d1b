"""What a request may ask for: models of its parameters, made from the columns of the sales."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config

__all__ = ["TEXT", "DaysAsked", "MonthsAsked", "Page", "RunId", "Text", "parameters_of"]

_ROWS = 1_000
_MOST_ROWS_BEFORE = 10_000_000
_MOST_DAYS = {"day": 366, "month": 3_660}
_MONTH = r"^[0-9]{4}-(0[1-9]|1[0-2])$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TEXT = r"^[^\x00-\x1f\x7f]*$"
_RUN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

Month = Annotated[str, Field(pattern=_MONTH)]
Day = Annotated[str, Field(pattern=_DAY, json_schema_extra={"format": "date"})]
Text: Any = Annotated[str, Field(pattern=TEXT, min_length=1, max_length=500)]
RunId: Any = Annotated[str, Field(pattern=_RUN)]


def _first(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _last(month: str) -> date:
    first = _first(month)
    return first.replace(day=monthrange(first.year, first.month)[1])


class Page(BaseModel):
    """Which rows of an answer.

    Attributes:
        filters: What columns must hold, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=_ROWS, ge=1, description="So many rows.")
    offset: int = Field(
        default=0, ge=0, le=_MOST_ROWS_BEFORE, description="So many rows are left out before them."
    )

    @property
    def filters(self) -> dict[str, str]:
        """What columns must hold, by name."""
        fields = type(self).model_fields
        given = {
            str(fields[name].alias): getattr(self, name)
            for name in fields
            if name.startswith("of_")
        }
        return {name: value for name, value in given.items() if value is not None}


class _Between(Page):
    """From when to when."""

    @property
    def between(self) -> tuple[date, date] | None:
        """The first and the last day; None for all."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        month, first, last = (getattr(self, each) for each in ("month", "first", "last"))
        if (month is not None and (first or last)) or bool(first) != bool(last):
            msg = "give month, or from and to"
            raise ValueError(msg)
        between = self.between
        if between is not None and between[0] > between[1]:
            msg = "from is later than to"
            raise ValueError(msg)
        return self


class MonthsAsked(_Between):
    """Months; all where none is given."""

    month: Month | None = Field(default=None, description="This month, as YYYY-MM.")
    first: Month | None = Field(default=None, alias="from", description="From this month on.")
    last: Month | None = Field(default=None, alias="to", description="To the end of this month.")

    @property
    def between(self) -> tuple[date, date] | None:
        """The first and the last day; None for all."""
        if self.first and self.last:
            return _first(self.first), _last(self.last)
        return (_first(self.month), _last(self.month)) if self.month else None


class DaysAsked(_Between):
    """Days, which have to be given, and what a row of the answer is."""

    by: Literal["day", "month"] = Field(default="day", description="What a row stands for.")
    month: Month | None = Field(default=None, description="This month, as YYYY-MM.")
    first: Day | None = Field(default=None, alias="from", description="From this day on.")
    last: Day | None = Field(default=None, alias="to", description="To this day, included.")

    @property
    def between(self) -> tuple[date, date] | None:
        """The first and the last day."""
        if self.first and self.last:
            return date.fromisoformat(self.first), date.fromisoformat(self.last)
        return (_first(self.month), _last(self.month)) if self.month else None

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        between, most = self.between, _MOST_DAYS[self.by]
        if between is None:
            msg = "give month, or from and to"
            raise ValueError(msg)
        if between[1] - between[0] >= timedelta(days=most):
            msg = f"by={self.by} goes over {most} days at most"
            raise ValueError(msg)
        return self


def parameters_of(
    config: Config, base: type[Page], columns: Sequence[str] = (), **more: Any
) -> type[Page]:
    """Return a model of parameters.

    Args:
        config: The configuration.
        base: What the model has anyway.
        columns: What may be filtered by.
        more: Type and field of further parameters, by name.
    """
    most = config.api.max_rows
    described = Page.model_fields["limit"].description
    known = {field.alias or name for name, field in base.model_fields.items()} | more.keys()
    filters = {
        f"of_{number}": (
            Text | None,
            Field(default=None, alias=name, description=f"Only this {name}."),
        )
        for number, name in enumerate(columns)
        if name not in known
    }
    limit = (int, Field(default=min(_ROWS, most), ge=1, le=most, description=described))
    fields: dict[str, Any] = {"limit": limit, **more, **filters}
    return create_model(base.__name__, __base__=base, **fields)
