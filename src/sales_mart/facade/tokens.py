"""Tokens in place of personal data, in any columns of any frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast, overload

import polars as pl

from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.facade.frames import as_kind, kind_of, to_polars, unquoted
from sales_mart.rows.characters import normalised
from sales_mart.rows.tokens import MIN_KEY_BYTES, Tokeniser, keyed_tokeniser

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from sales_mart.facade.frames import Data, F, Kind

__all__ = ["Algorithm", "pseudonymise"]

Algorithm = Literal["hmac-sha256", "sha256"]

_KEY_REMEDY = (
    f"Give a random key of at least {MIN_KEY_BYTES} bytes, for instance the output of "
    "`openssl rand -base64 48`, and keep it: without it the tokens cannot be made again."
)
_SEPARATOR = "\x1f"


@overload
def pseudonymise(
    data: F,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: None = None,
) -> F: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Literal["polars"],
) -> pl.DataFrame: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Literal["lazy"],
) -> pl.LazyFrame: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Literal["pandas"],
) -> pd.DataFrame: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Literal["arrow"],
) -> Any: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Literal["mappings"],
) -> list[dict[str, Any]]: ...
@overload
def pseudonymise(
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: None = None,
) -> Any: ...
def pseudonymise(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    data: Data,
    columns: str | Sequence[str],
    *,
    key: str | bytes | None = None,
    algorithm: Algorithm = "hmac-sha256",
    context: str | None = None,
    output: Kind | None = None,
) -> Any:
    r"""Replace the values of some columns by tokens of 64 lower-case hex characters.

    The message is the text in Unicode's normal form C, of whole numbers and dates the text that
    Python writes; with a context it is `<context>\x1f<text>`, so that equal values of two columns
    make different tokens. Null stays null. White space counts: a pipeline strips it first.

    Args:
        data: A frame of any kind, or the path of one.
        columns: Name or names of columns.
        key: Key of HMAC-SHA-256, as bytes or as the text whose UTF-8 it is.
        algorithm: `sha256` makes tokens without a key, which whoever can enumerate the values can
            undo.
        context: Keeps the tokens apart from those of other columns; a pipeline takes its name of
            the column. Default: none, as a pipeline does for `transaction_id`.
        output: What to give back. Default: the kind that came in.

    Returns:
        The frame, all other columns as they were.

    Raises:
        ConfigurationError: The key is missing, weak, or given without use; or this is no frame.
        SourceFormatError: A column is missing, or holds something else than texts, whole numbers
            and dates.
    """
    tokens = _tokeniser(key, algorithm)
    if context is not None and _SEPARATOR in context:
        msg = "the context holds the character \\x1f, which separates it from the text"
        raise ConfigurationError(msg, remedy="Take the column's name.")
    chosen = [columns] if isinstance(columns, str) else list(columns)
    kind = kind_of(data)
    if kind == "pandas":
        made = _in_pandas(data, chosen, tokens, context)
        return (
            made if output in {None, "pandas"} else as_kind(to_polars(made), cast("Kind", output))
        )
    frame = to_polars(data)
    with unquoted("the lazy frame cannot be computed"):
        schema = frame.collect_schema()
    _check_names(chosen, schema.names())
    replaced = frame.with_columns(
        _text(name, schema[name]).map_batches(
            _Tokens(tokens, context), return_dtype=pl.String, is_elementwise=True
        )
        for name in chosen
    )
    return as_kind(replaced, output or kind)


class _Tokens:
    """Makes the tokens of a column; no plan that holds it is serialised with the key in it."""

    def __init__(self, tokens: Tokeniser, context: str | None) -> None:
        self._tokens = tokens
        self._context = context

    def __call__(self, texts: pl.Series) -> pl.Series:
        frame = texts.alias("text").to_frame().select(normalised(pl.col("text")))
        made = frame.select(self._tokens.expression("text", self._context)).to_series()
        return made.alias(texts.name)


def _tokeniser(key: str | bytes | None, algorithm: str) -> Tokeniser:
    if algorithm == "sha256":
        if key is not None:
            msg = "a key is given, and plain sha256 would not use it"
            raise ConfigurationError(msg, remedy="Leave the algorithm out, to use the key.")
        return Tokeniser()
    if algorithm != "hmac-sha256":
        msg = f"{algorithm!r} is no algorithm"
        raise ConfigurationError(msg, remedy="Say hmac-sha256, or sha256 for tokens without a key.")
    if key is None:
        msg = "no key is given"
        raise ConfigurationError(
            msg,
            remedy=f'{_KEY_REMEDY} algorithm="sha256" makes tokens without one, which whoever can '
            "enumerate the values can undo.",
        )
    return keyed_tokeniser(key, "the argument", _KEY_REMEDY)


def _check_names(chosen: Sequence[str], names: Sequence[str]) -> None:
    for name in chosen:
        if name not in names:
            msg = f"the frame has no column {name}{hint(name, names)}"
            raise SourceFormatError(msg, remedy=f"Its columns are {', '.join(names)}.")


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Date:
        return column.dt.to_string("%Y-%m-%d")
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null) or dtype.is_integer():
        return column.cast(pl.String)
    # Their text is a matter of taste, and another one is another token.
    msg = f"the column {name} is of type {type(dtype).__name__}, which has no text of its own"
    raise SourceFormatError(msg, remedy="Give it as text.")


def _in_pandas(
    data: Any, chosen: Sequence[str], tokens: Tokeniser, context: str | None
) -> pd.DataFrame:
    """Replace the columns and leave index and other columns as they are."""
    _check_names(chosen, [str(name) for name in data.columns])
    made: pd.DataFrame = data.copy()
    for name in chosen:
        column = to_polars(data[[name]])
        schema = column.collect_schema()
        texts = column.lazy().select(_text(name, schema[name])).collect().to_series()
        found = _Tokens(tokens, context)(texts).to_pandas()
        found.index = data.index
        made[name] = found
    return made
