"""Check the sales in any frame."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import polars as pl

from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.keys import hint
from sales_mart.errors import SourceFormatError
from sales_mart.facade.checked_files import check_file
from sales_mart.facade.frames import as_kind, kind_of, place_of, to_polars, unquoted
from sales_mart.facade.own_checks import OwnChecks
from sales_mart.rows.frames import check_frame
from sales_mart.rows.mapping import normal_name
from sales_mart.schema import POSITIONS, MappedName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from sales_mart.facade.frames import Data, Kind
    from sales_mart.rows.frames import ValidationResult

__all__ = ["Validation", "validate"]


@dataclass(frozen=True, repr=False)
class Validation:
    """Rows that passed, rows that did not, and why. No raw identifier is in it.

    Attributes:
        valid: Typed rows with tokens, in a frame of the kind that was given.
        rejected: The other rows as text, with tokens and their reasons.
        counts: Rejected rows by reason; a row counts for each of its reasons.
        rows_read: Rows of the input: `rows_valid + rows_rejected`.
        rows_valid: Rows in `valid`.
        rows_rejected: Rows in `rejected`.
    """

    valid: Any
    rejected: Any
    counts: dict[str, int]
    rows_read: int
    rows_valid: int
    rows_rejected: int

    def __repr__(self) -> str:
        """Say it in one short line."""
        counts = f"{self.rows_valid:,} valid, {self.rows_rejected:,} rejected"
        return f"Validation({self.rows_read:,} read, {counts})"

    def _repr_html_(self) -> str:
        cells = {"read": self.rows_read, "valid": self.rows_valid, "rejected": self.rows_rejected}
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{count:,}</td></tr>"
            for name, count in (cells | self.counts).items()
        )
        return f"<table>{rows}</table>"


def validate(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    data: Data,
    config: Config | str | Path | None = None,
    *,
    columns: Mapping[str, Any] | None = None,
    rules: Mapping[str, pl.Expr] | None = None,
    model: type[BaseModel] | None = None,
    output: Kind | None = None,
) -> Validation:
    """Check the sales in a frame by the rules of the pipeline, and make tokens of identifiers.

    Args:
        data: A frame of any kind, or the path of a file. The file is read as a run reads it;
            with `rules` or a `model` as a frame, from .csv with commas or .parquet.
        config: The configuration, or its file. Default: the default configuration.
        columns: Our names of columns -> what stands for them, as in `ingestion.columns`: a name, a
            list of several that make one identifier, or keys such as `{"value": 1}`.
        rules: Reasons of your own -> expressions that are true of a valid row; what they say of
            null counts for nothing. They see the columns of valid rows, `date`, those of the model,
            and all others as they are in the frame.
        model: A subclass of `Transaction`, or any model of Pydantic. Fields that are no fields of a
            sale become columns of `valid`, of the field's type; on the others it is a check. A
            reason is the field and Pydantic's type of problem, as in `store_string_too_short`.
        output: What to give back. Default: the kind that came in.

    Your own model is asked about rows that the pipeline's rules accept, your own rules about those
    that the model accepts too; then duplicates are looked for.

    Returns:
        The rows that passed and those that did not.

    Raises:
        SourceFormatError: A column is missing, stands twice, or cannot be read as text.
        ConfigurationError: The key is missing, weak, or given without an algorithm; or this is no
            frame, a rule is no expression, or the model is none.
    """
    found = config if isinstance(config, Config) else load_config(config) if config else Config()
    place = None if rules or model else place_of(data)
    if place is not None:
        found = _mapped(found, columns, None) if columns else found
        return _given(check_file(place, found), output or kind_of(data))
    frame = to_polars(data)
    if columns:
        with unquoted("the lazy frame cannot be computed"):
            found = _mapped(found, columns, frame.collect_schema().names())
    own = None
    if rules or model is not None:
        with unquoted("the lazy frame cannot be computed"):
            names = frame.collect_schema().names()
        own = OwnChecks(found, names, rules, model)
    checked = check_frame(frame, found, own.carried if own else (), own)
    return _given(checked, output or kind_of(data))


def _given(
    checked: ValidationResult[pl.DataFrame],  # pyright: ignore[reportUnknownParameterType]
    kind: Kind,
) -> Validation:
    return Validation(
        valid=as_kind(checked.valid, kind),
        rejected=as_kind(checked.rejected, kind),
        counts=checked.counts,
        rows_read=checked.rows_read,
        rows_valid=checked.rows_valid,
        rows_rejected=checked.rows_rejected,
    )


def _mapped(config: Config, columns: Mapping[str, Any], names: Sequence[str] | None) -> Config:
    """Return the configuration with other columns mapped; `names` are those of the frame."""
    known = get_args(MappedName)
    for ours in columns:
        if ours not in known:
            msg = f"columns: {ours} is no name of ours{hint(ours, known)}"
            raise SourceFormatError(msg, remedy=f"There are {', '.join(known)}.")
    given = Config.model_validate({"ingestion": {"columns": columns}}).ingestion.columns
    mapped = {**config.ingestion.columns, **given}
    parts = [part for name, column in mapped.items() for part in column.origin(name).parts]
    for part in parts if names is not None else ():
        _check_has(part, names or ())
    ingestion = config.ingestion.model_copy(update={"columns": mapped})
    return config.model_copy(update={"ingestion": ingestion})


def _check_has(part: tuple[str, ...], names: Sequence[str]) -> None:
    known = {normal_name(each) for each in (*names, *POSITIONS)}
    if known.isdisjoint(map(normal_name, part)):
        msg = f"columns: {part[0]} is no name of the frame's{hint(part[0], names)}"
        raise SourceFormatError(msg, remedy=f"There are {', '.join(names)}.")
