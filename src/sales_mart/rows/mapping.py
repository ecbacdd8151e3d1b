"""The columns of a file or a frame into the fields of a sale: ours from theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_mart.rows.characters import WHITE_SPACE
from sales_mart.schema import POSITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from sales_mart.schema import Origin

__all__ = [
    "CARRY_CURRENCY",
    "CURRENCY_NAME",
    "Mapped",
    "Unmapped",
    "currencies_in",
    "fields_of",
    "map_columns",
    "mapped_at",
    "meant",
    "normal_name",
    "present",
    "wanted_names",
]

CARRY_CURRENCY = (
    "Carry it, so that each sum has its currency: ingestion.attributes.currency: {role: currency}."
)
"""What to do about a column called currency that is not carried."""
CURRENCY_NAME = "currency"
"""What a column is called whose values are looked at even where no field comes from it."""
_CURRENCIES = r"^(?:[A-Za-z]{2,4}|[A-Za-z]{0,3}\p{Sc})$"
_MOST_CURRENCIES = 5
_SEPARATOR = "\x1f"
_ESCAPES = (("\x1b", "\x1b0"), (_SEPARATOR, "\x1b1"))
"""What keeps the separator out of the parts, so that no two lists of parts give one text."""


@dataclass(frozen=True)
class Mapped:
    """Where each field stands among the columns of a file or a frame.

    Attributes:
        parts: Of each field, where its parts stand, from 0, or one of `POSITIONS`; none where it
            has one value in all rows.
        values: Value of each field that has one in all rows.
        currency: Where a column called currency stands that no field comes from; None for nowhere.
    """

    parts: Mapping[str, tuple[int | str, ...]]
    values: Mapping[str, str]
    currency: int | None = None

    @property
    def columns(self) -> tuple[int, ...]:
        """Positions of the columns that are read, in order."""
        found = {part for parts in self.parts.values() for part in parts if isinstance(part, int)}
        return tuple(sorted(found | ({self.currency} if self.currency is not None else set())))


@dataclass(frozen=True)
class Unmapped(Exception):  # noqa: N818 - it is turned into an error of ours
    """Some fields have no column, or more than one.

    Attributes:
        missing: The names of each column that is missing, joined where any of several would do.
        twice: What is said of each column that stands more than once.
    """

    missing: tuple[str, ...]
    twice: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """What to do where a column stands more than once."""
        return "Keep one column of each name, and one of several that mean the same."


def normal_name(name: str) -> str:
    """Return the name of a column as names are compared."""
    return name.strip(WHITE_SPACE).lower()


def wanted_names(fields: Mapping[str, Origin]) -> tuple[tuple[str, ...], ...]:
    """Return the columns that a file must have, each with the names that it may have there."""
    parts = (part for origin in fields.values() for part in origin.parts)
    return tuple(dict.fromkeys(part for part in parts if not POSITIONS & set(part)))


def map_columns(names: Sequence[str], fields: Mapping[str, Origin]) -> Mapped:
    """Find the columns of the fields.

    Args:
        names: Names of the columns, as `normal_name` returns them.
        fields: Our name of each field -> where it comes from.

    Raises:
        Unmapped: A column is missing, or there are several.
    """
    missing: list[str] = []
    twice: list[str] = []
    found: dict[tuple[str, ...], int] = {}
    for part in wanted_names(fields):
        normal = {normal_name(name): name for name in part}
        places = [(place, name) for place, name in enumerate(names) if name in normal]
        if not places:
            missing.append(" or ".join(part))
        elif len(places) > 1:
            found_names = dict.fromkeys(normal[name] for _, name in places)
            several = len(found_names) > 1
            twice.append(
                f"{'both ' * several}{' and '.join(found_names)}{' twice' * (not several)}"
            )
        else:
            found[part] = places[0][0]
    if missing or twice:
        raise Unmapped(tuple(missing), tuple(sorted(twice)))
    unused = [place for place, name in enumerate(names) if name == CURRENCY_NAME]
    currency = unused[0] if unused and unused[0] not in found.values() else None
    return mapped_at(fields, found, currency)


def mapped_at(
    fields: Mapping[str, Origin], found: Mapping[tuple[str, ...], int], currency: int | None
) -> Mapped:
    """Return where the fields stand.

    Args:
        fields: Our name of each field -> where it comes from.
        found: Where each of the `wanted_names` stands.
        currency: Where a column called currency stands that no field comes from.
    """
    return Mapped(
        currency=currency,
        parts={
            name: tuple(
                found[part] if part in found else next(iter(POSITIONS & set(part)))
                for part in origin.parts
            )
            for name, origin in fields.items()
        },
        values={name: origin.value for name, origin in fields.items() if origin.value is not None},
    )


def fields_of(
    mapped: Mapped,
    columns: Mapping[int, pl.Expr],
    positions: Mapping[str, pl.Expr],
    null_values: Sequence[str] = (),
) -> list[pl.Expr]:
    """Return the fields as expressions.

    Args:
        mapped: Where they stand.
        columns: The texts of the columns that are read, by their position.
        positions: What `$row` and `$file` stand for.
        null_values: Texts that mean that a value is missing.
    """
    import polars as pl

    def field(name: str, parts: tuple[int | str, ...]) -> pl.Expr:
        if not parts:
            return pl.lit(mapped.values[name], pl.String).alias(name)
        texts = [
            columns[part] if isinstance(part, int) else positions[part].cast(pl.String)
            for part in parts
        ]
        if len(texts) == 1:
            return texts[0].alias(name)
        # Where a part is missing, so is the whole: what is left would be another identifier.
        stripped = (present(text, null_values) for text in texts)
        return pl.concat_str([_escaped(each) for each in stripped], separator=_SEPARATOR).alias(
            name
        )

    return [field(name, parts) for name, parts in mapped.parts.items()]


def currencies_in(columns: pl.DataFrame, mapped: Mapped) -> frozenset[str]:
    """Return the currencies in a column that is not carried: amounts of several are never added.

    What is no code or sign of one is not shown, since it may be anything; it counts as one more.

    Args:
        columns: The columns that are read, called by their position: `c0`.
        mapped: Where such a column stands among them.
    """
    import polars as pl

    if mapped.currency is None:
        return frozenset()
    names = columns.select(present(pl.col(f"c{mapped.currency}")).str.to_uppercase().alias("text"))[
        "text"
    ]
    found = names.drop_nulls().unique()
    known = found.filter(found.str.contains(_CURRENCIES)).sort()
    others = {"others"} if len(known) < len(found) else set[str]()
    return frozenset(known.head(_MOST_CURRENCIES)) | others


def present(text: pl.Expr, null_values: Sequence[str] = ()) -> pl.Expr:
    """Return a column of texts without white space around them, null where nothing is left."""
    return meant(text.str.strip_chars(), null_values)


def meant(stripped: pl.Expr, null_values: Sequence[str] = ()) -> pl.Expr:
    """Return a column of texts, null where one is empty or means that a value is missing."""
    import polars as pl

    there = stripped.str.len_bytes() > 0
    if null_values:
        there &= ~stripped.is_in(list(null_values))
    return pl.when(there).then(stripped)


def _escaped(text: pl.Expr) -> pl.Expr:
    for found, instead in _ESCAPES:
        text = text.str.replace_all(found, instead, literal=True)
    return text
