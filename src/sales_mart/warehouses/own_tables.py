"""The tables that the pipeline keeps beside the raw one, as data: the same in every warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, PUBLISHED_SLICES, QUALITY_HISTORY
from sales_mart.schema import MEASURES, SaleColumn, TableColumn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.warehouses.dialect import Dialect

__all__ = [
    "LOAD_TABLES",
    "PUBLISH_TABLES",
    "QUALITY_TABLES",
    "SHARE",
    "check_columns",
    "table_definition",
]


def _text(name: str, description: str, *, is_nullable: bool = False) -> TableColumn:
    return TableColumn(name=name, kind="text", is_nullable=is_nullable, description=description)


def _count(name: str, description: str, *, is_nullable: bool = False) -> TableColumn:
    return TableColumn(name=name, kind="integer", is_nullable=is_nullable, description=description)


def _time(name: str, description: str) -> TableColumn:
    return TableColumn(name=name, kind="timestamp", is_nullable=False, description=description)


def _sum(name: str, description: str, *, is_nullable: bool = True) -> TableColumn:
    return TableColumn(
        name=name, kind="decimal", digits=0, is_nullable=is_nullable, description=description
    )


_LOAD_RUNS = (
    _count("sequence", "1 for the first load, then one more each."),
    _text("run_id", "Run that was loaded."),
    TableColumn(
        name="business_date", kind="date", is_nullable=False, description="Date of the batch."
    ),
    _text("mode", "replace or append."),
    _count("rows", "Visible rows that the run added."),
    _count("yielded_rows", "Its rows that a later business date supersedes."),
    _text("key_id", "Key of the tokens, never the key itself."),
    _text("sale_date_window", "JSON array of dates; null for all.", is_nullable=True),
    _text("seal_digest", "Digest of what was sealed."),
    _time("loaded_at", "When it was loaded."),
    # What came after 0.1 is nullable, so that it can be added to the table that 0.1 made.
    _count("removed_rows", "Visible rows that are gone.", is_nullable=True),
    _count("superseded_rows", "Rows of earlier loads that it supersedes.", is_nullable=True),
    _count("shown_again_rows", "Rows that are visible again.", is_nullable=True),
    _count("visible_rows", "Visible rows after the load.", is_nullable=True),
    _text("rules", "JSON object: the rules by reason.", is_nullable=True),
    _text("rejects", "JSON object: rejected rows by reason.", is_nullable=True),
    _text("grain", "JSON array: the currency, if it has one.", is_nullable=True),
    _count("rows_read", "Rows of the input.", is_nullable=True),
    _count("rows_rejected", "Rejected rows, each once.", is_nullable=True),
)
_PUBLICATIONS = (
    _count("sequence", "Sequence of the load that is shown."),
    _text("run_id", "Run that was loaded."),
    _text("mart_rules_digest", "Digest of the rules that the marts were built by."),
    _text("mart_rows", "JSON object: rows of each table."),
    _time("published_at", "When readers saw it first."),
    _count("slices", "Slices recorded in published_slices.", is_nullable=True),
)
_PUBLISHED_SLICES = (
    _text("mart", "Published table."),
    TableColumn(name="slice", kind="date", description="Day or month; null for all of the mart."),
    _count("row_count", "Rows of the slice."),
    *(
        _sum(name, "Sum over the rows; null where the mart has none.")
        for name in MEASURES
        if name != "rows"
    ),
    _sum("checksum", "Sum of the rows' checksums.", is_nullable=False),
)
SHARE = TableColumn(
    name="share",
    kind="decimal",
    digits=10,
    scale=9,
    description="`rows_rejected` / `rows_read`, rounded half away from zero; null where one "
    "of them is null or nothing was read.",
)
_QUALITY_HISTORY = (
    _text("run_id", "Run whose rows were checked."),
    TableColumn(
        name="business_date",
        kind="date",
        is_nullable=False,
        description="Date of its batch; of a snapshot, the day that it was taken for.",
    ),
    _text("mode", "`append` for the batch of a day, `replace` for a snapshot."),
    _count("sequence", "Number of its last load in this warehouse: a later load has a higher one."),
    _text(
        "reason",
        "Why rows were rejected; null in the one row of each run that counts every rejected row "
        "once.",
        is_nullable=True,
    ),
    _count(
        "rows_read",
        "Rows of the run's input, the same in all of its rows; null where an earlier version "
        "loaded it.",
        is_nullable=True,
    ),
    _count(
        "rows_rejected",
        "Rejected rows with this reason; null where an earlier version did not keep it.",
        is_nullable=True,
    ),
    SHARE,
)
LOAD_TABLES = {LOAD_RUNS: _LOAD_RUNS}
"""What `load` keeps: every load of a target."""
PUBLISH_TABLES = {PUBLICATIONS: _PUBLICATIONS, PUBLISHED_SLICES: _PUBLISHED_SLICES}
"""What `publish` keeps: every publication, and the slices of the marts that are shown."""
QUALITY_TABLES = {QUALITY_HISTORY: _QUALITY_HISTORY}
"""What `publish` keeps beside the marts, for their readers."""
_KEYS = {LOAD_RUNS: "sequence"}


def table_definition(
    dialect: Dialect, schema: str, name: str, columns: Sequence[TableColumn]
) -> str:
    """Return the name of a table with its columns in parentheses, to create it by."""
    parts = [dialect.definition(column) for column in columns]
    if name in _KEYS:
        parts.append(f"primary key ({_KEYS[name]})")
    return f"{dialect.table(schema, name)} ({', '.join(parts)})"


def check_columns(
    dialect: Dialect, where: str, columns: Sequence[TableColumn], found: Mapping[str, str]
) -> list[TableColumn]:
    """Compare the columns of a table with those that are written to it.

    Args:
        dialect: The warehouse's SQL.
        where: What to call the table in an error.
        columns: What is written.
        found: Type by name of what the table has; other columns of it do not matter.

    Returns:
        Columns that the table lacks, and that may be added since they may be null.

    Raises:
        ConfigurationError: A column has another type, or one that must not be null is missing.
    """
    missing: list[TableColumn] = []
    for column in columns:
        have, wanted = found.get(column.name), dialect.type_of(column)
        if have is None and column.is_nullable:
            missing.append(column)
        elif have != wanted:
            msg = f"column {column.name} of {where} is {have or 'missing'}, the run writes {wanted}"
            raise ConfigurationError(msg, remedy=_remedy(column))
    return missing


def _remedy(column: TableColumn) -> str:
    own = isinstance(column, SaleColumn)
    if own and column.role in ("attribute", "dimension", "currency"):
        return (
            f"Put the type of ingestion.attributes.{column.name} back, or call the attribute "
            "otherwise: the table keeps the old column, and gets another one."
        )
    key = column.scale_key if own else "ingestion.validation.max_decimals"
    return f"Restore {key}, or move the table away or drop it and load the history anew."
