"""What was loaded and published, as `load_runs` and `publications` of any warehouse have it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from sales_mart.errors import ConfigurationError, SupersededError, TemporaryError
from sales_mart.lake.records import Load, Mode
from sales_mart.names import LOAD_RUNS, PUBLICATIONS
from sales_mart.rows.rule_changes import CURRENCY, rules_as_data
from sales_mart.schema import schema_of
from sales_mart.warehouses.admission import PAST_LOAD_COLUMNS, PastLoad
from sales_mart.warehouses.windows import Window, union_windows, window_from_json, window_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date, datetime

    from sales_mart.config import Config
    from sales_mart.lake.records import Seal
    from sales_mart.warehouses.base import Session

__all__ = [
    "Change",
    "Publication",
    "check_built",
    "check_latest",
    "check_sequence",
    "has_live_tables",
    "is_shown",
    "latest_load",
    "latest_publication",
    "load_of",
    "load_values",
    "loaded_days",
    "past_loads",
    "pending",
    "pending_window",
    "publication_of",
    "require_latest",
    "require_marks",
]


class Publication(NamedTuple):
    """Which load the marts show.

    Attributes:
        sequence: Sequence of the load.
        mart_rules_digest: The rules that the marts were built by.
        rows: Rows of each published table.
        published_at: When readers saw it first.
        run_id: The run that was loaded.
        slices: How many slices of the marts were recorded; None when a version did not do so.
    """

    sequence: int
    mart_rules_digest: str
    rows: dict[str, int]
    published_at: datetime
    run_id: str
    slices: int | None


_COLUMNS = {"hidden_rows": "yielded_rows"}
"""What `load_runs` calls counts of a `Change` otherwise, since 0.1 named the column."""


class Change(NamedTuple):
    """What a load does to the raw table.

    Attributes:
        window: Sale dates of the rows that become visible or hidden.
        rows: Rows of the run that are visible.
        hidden_rows: Rows of the run that a later business date supersedes.
        removed_rows: Visible rows that are gone.
        superseded_rows: Rows of earlier loads that this one supersedes.
        shown_again_rows: Rows that are visible again.
    """

    window: Window
    rows: int = 0
    hidden_rows: int = 0
    removed_rows: int = 0
    superseded_rows: int = 0
    shown_again_rows: int = 0

    def visible_after(self, before: int) -> int:
        """Return how many rows are visible after it."""
        return before + self.rows - self.removed_rows - self.superseded_rows + self.shown_again_rows


def load_values(
    config: Config, seal: Seal, change: Change, visible_rows: int
) -> dict[str, str | int | date | None]:
    """Return what `load_runs` keeps of a load, but for its sequence and its time."""
    counts = change._asdict()
    del counts["window"]
    return {
        "run_id": seal.run_id,
        "business_date": seal.business_date,
        "mode": seal.mode.value,
        **{_COLUMNS.get(name, name): value for name, value in counts.items()},
        "visible_rows": visible_rows,
        "key_id": seal.key_id,
        "sale_date_window": window_to_json(change.window),
        "seal_digest": seal.digest,
        "rules": json.dumps(rules_as_data(config) | {CURRENCY: seal.currency}),
        "rejects": json.dumps(seal.reasons),
        "grain": json.dumps([column.name for column in schema_of(config).of_role("currency")]),
        "rows_read": seal.rows_read,
        "rows_rejected": seal.rows_rejected,
    }


def latest_load(session: Session) -> Load | None:
    """Return the load with the highest sequence; None when there was none."""
    # All columns, since a table that 0.1 made has fewer.
    columns = session.columns(session.warehouse.raw_schema, LOAD_RUNS)
    if not columns:
        return None
    rows = session.query(f"""
        select {_listed(session, columns)}
        from {_load_runs(session)}
        order by sequence desc
        limit 1
    """)
    found = (dict(zip(columns, row, strict=True)) for row in rows)
    return next((load_of(session.warehouse.name, row) for row in found), None)


def past_loads(session: Session) -> list[PastLoad]:
    """Return the last snapshot and every load after it, in their order."""
    loads = _load_runs(session)
    rows = session.query(f"""
        select {_listed(session, PAST_LOAD_COLUMNS)}
        from {loads}
        where sequence >= coalesce(
            (select max(sequence) from {loads} where mode = 'replace'), 0
        )
        order by sequence
    """)
    return [PastLoad(*row) for row in rows]


def check_latest(session: Session, run_id: str) -> Load:
    """Return the latest load if it is this run's.

    Call it under the target's lock when what follows must not be overtaken.

    Raises:
        SupersededError: Another run was loaded later.
        ConfigurationError: Nothing was loaded yet.
    """
    return require_latest(session.warehouse.name, latest_load(session), run_id)


def pending_window(session: Session, run_id: str | None = None) -> tuple[int, Window]:
    """Return the latest load's sequence and the sale dates that `pending` finds.

    Raises:
        SupersededError: The latest load is not of the run that is named.
        ConfigurationError: Nothing was loaded yet.
    """

    def windows_since(sequence: int) -> list[str | None]:
        rows = session.query(f"""
            select sale_date_window
            from {_load_runs(session)}
            where sequence > {session.warehouse.dialect.literal(sequence)}
        """)
        return [text for (text,) in rows]

    warehouse = session.warehouse
    latest = require_latest(warehouse.name, latest_load(session), run_id)
    columns = session.columns(warehouse.raw_schema, warehouse.config.data_warehouse.table)
    require_marks(warehouse.name, latest, found="superseded_by" in columns)
    return pending(
        warehouse.config,
        latest,
        latest_publication(session),
        lambda: has_live_tables(session),
        windows_since,
    )


def has_live_tables(session: Session) -> bool:
    """Return whether every table that `publish` makes current is there."""
    warehouse = session.warehouse
    return all(session.exists(warehouse.schema_of(mart), mart.name) for mart in warehouse.marts)


def loaded_days(session: Session) -> set[date]:
    """Return the business dates of the batches that the raw table was put together from.

    A snapshot loaded in between has replaced the batches before it.
    """
    if not session.exists(session.warehouse.raw_schema, LOAD_RUNS):
        return set()
    loads = _load_runs(session)
    rows = session.query(f"""
        select distinct business_date
        from {loads}
        where
            mode = 'append'
            and sequence > coalesce(
                (select max(sequence) from {loads} where mode = 'replace'), 0
            )
    """)
    return {day for (day,) in rows}


def latest_publication(session: Session) -> Publication | None:
    """Return the publication of the highest load; None when there was none."""
    warehouse = session.warehouse
    columns = session.columns(warehouse.raw_schema, PUBLICATIONS)
    if not columns:
        return None
    # A table that version 0.1 made has no such column.
    slices = "slices" if "slices" in columns else "null"
    rows = session.query(f"""
        select sequence, mart_rules_digest, mart_rows, published_at, run_id, {slices} as slices
        from {warehouse.dialect.table(warehouse.raw_schema, PUBLICATIONS)}
        order by sequence desc, published_at desc
        limit 1
    """)
    return next((publication_of(row) for row in rows), None)


def _listed(session: Session, columns: Iterable[str]) -> str:
    return ", ".join(map(session.warehouse.dialect.identifier, columns))


def _load_runs(session: Session) -> str:
    warehouse = session.warehouse
    return warehouse.dialect.table(warehouse.raw_schema, LOAD_RUNS)


def load_of(target: str, row: Mapping[str, Any]) -> Load:
    """Read a row of `load_runs`; one that 0.1 made lacks columns.

    Args:
        target: The warehouse.
        row: Value by column.
    """
    rules, rejects = row.get("rules"), row.get("rejects")
    return Load(
        run_id=row["run_id"],
        target=target,
        mode=Mode(row["mode"]),
        sequence=row["sequence"],
        rows=row["rows"],
        hidden_rows=row[_COLUMNS["hidden_rows"]],
        removed_rows=row.get("removed_rows"),
        superseded_rows=row.get("superseded_rows"),
        shown_again_rows=row.get("shown_again_rows"),
        visible_rows=row.get("visible_rows"),
        window=window_from_json(row["sale_date_window"]),
        seal_digest=row["seal_digest"],
        rules=None if rules is None else json.loads(rules),
        rejects=None if rejects is None else json.loads(rejects),
        rows_read=row.get("rows_read"),
        rows_rejected=row.get("rows_rejected"),
        loaded_at=row["loaded_at"],
    )


def publication_of(row: Sequence[Any]) -> Publication:
    """Read a row of `publications`.

    Args:
        row: sequence, mart_rules_digest, mart_rows, published_at, run_id, slices.
    """
    return Publication(row[0], row[1], json.loads(row[2]), row[3], row[4], row[5])


def require_latest(target: str, latest: Load | None, run_id: str | None = None) -> Load:
    """Return the latest load, which has to be of a run, if one is named.

    Raises:
        ConfigurationError: Nothing was loaded yet.
        SupersededError: Another run was loaded later.
    """
    if latest is None:
        msg = f"nothing is loaded into {target} yet"
        raise ConfigurationError(msg, remedy="Run `sales-mart load` for the run first.")
    if run_id is not None and latest.run_id != run_id:
        msg = f"run {run_id} is superseded by {latest.run_id} in {target}"
        raise SupersededError(
            msg, remedy="Let the newer run finish; to show this one again, load it again first."
        )
    return latest


def require_marks(target: str, latest: Load, *, found: bool) -> None:
    """Check that the raw table tells visible rows from superseded ones, as it did not in 0.1.

    Raises:
        ConfigurationError: The latest load is of version 0.1, and the table was not migrated yet.
    """
    if not found:
        msg = f"run {latest.run_id} was loaded into {target} by an older version"
        raise ConfigurationError(
            msg, remedy="Run `sales-mart load` for it again, which adds what is missing."
        )


def check_sequence(latest: Load, sequence: int) -> None:
    """Check that marts were built from the latest load.

    Raises:
        SupersededError: They were built from another one.
    """
    if latest.sequence != sequence:
        msg = f"the marts were built from load {sequence}, the latest is {latest.sequence}"
        raise SupersededError(msg, remedy="Run `sales-mart transform` and `reconcile` again.")


def is_shown(
    published: Publication | None, config: Config, sequence: int
) -> TypeGuard[Publication]:
    """Return whether the marts of a load, by the rules of now, were published last."""
    return published is not None and (published.sequence, published.mart_rules_digest) == (
        sequence,
        config.mart_rules_digest,
    )


def pending(
    config: Config,
    latest: Load,
    published: Publication | None,
    has_tables: Callable[[], bool],
    windows_since: Callable[[int], Iterable[str | None]],
) -> tuple[int, Window]:
    """Return the latest load's sequence and the sale dates changed since the last publication.

    The window is None, everything, when a load since then replaced the table, nothing was
    published yet, the marts' rules have changed, or one of the published tables is gone. When the
    latest load is published already, it is that load's own window: whoever runs it again builds
    and compares what the first time did.

    Args:
        config: The configuration.
        latest: The latest load.
        published: The latest publication.
        has_tables: Tells whether all published tables are there.
        windows_since: Gives the windows of the loads after a sequence, as `load_runs` holds them.
    """
    sequence = latest.sequence
    if published is None or published.mart_rules_digest != config.mart_rules_digest:
        return sequence, None
    if not has_tables():
        return sequence, None
    if published.sequence == sequence:
        return sequence, latest.window
    windows = windows_since(published.sequence)
    return sequence, union_windows(window_from_json(text) for text in windows)


def check_built(target: str, built: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Check that the next marts are the ones that `transform` built and tested.

    Args:
        target: The warehouse.
        built: What told the tables apart then.
        found: What tells them apart now.

    Raises:
        TemporaryError: Another attempt has built some of them anew since, and may not be done.
    """
    others = sorted(name for name, mark in found.items() if built.get(name) != mark)
    if others:
        msg = f"another attempt has built {', '.join(others)} in {target} since they were tested"
        raise TemporaryError(
            msg, remedy="Run `sales-mart transform` and `reconcile` again, or the whole run."
        )
