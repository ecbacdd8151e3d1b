"""What a warehouse's history of loads and publications means; each one only asks for its rows."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from sales_mart.errors import ConfigurationError, SupersededError, TemporaryError
from sales_mart.lake.records import Load, Mode, Target
from sales_mart.rows.rule_changes import rules_as_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Seal

__all__ = [
    "Change",
    "Publication",
    "Window",
    "check_built",
    "check_sequence",
    "is_shown",
    "load_of",
    "load_values",
    "pending",
    "publication_of",
    "require_latest",
    "require_marks",
    "union_windows",
    "window_from_json",
    "window_months",
    "window_to_json",
]

Window = tuple[date, ...] | None
"""Distinct sale dates, ascending; empty when nothing changed, None when everything may have."""


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


class Change(NamedTuple):
    """What a load does to the raw table.

    Attributes:
        window: Sale dates of the rows that become visible or hidden.
        rows: Rows of the run that are visible.
        yielded_rows: Rows of the run that a later business date supersedes.
        removed_rows: Visible rows that are gone.
        superseded_rows: Rows of earlier loads that this one supersedes.
        shown_again_rows: Rows that are visible again.
    """

    window: Window
    rows: int = 0
    yielded_rows: int = 0
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
    return {
        "run_id": seal.run_id,
        "business_date": seal.business_date,
        "mode": seal.mode.value,
        **{name: value for name, value in change._asdict().items() if name != "window"},
        "visible_rows": visible_rows,
        "key_id": seal.key_id,
        "sale_date_window": window_to_json(change.window),
        "seal_digest": seal.digest,
        "rules": json.dumps(rules_as_data(config)),
        "rejects": json.dumps(seal.reasons),
    }


def load_of(target: Target, row: Mapping[str, Any]) -> Load:
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
        yielded_rows=row["yielded_rows"],
        removed_rows=row.get("removed_rows"),
        superseded_rows=row.get("superseded_rows"),
        shown_again_rows=row.get("shown_again_rows"),
        visible_rows=row.get("visible_rows"),
        window=window_from_json(row["sale_date_window"]),
        seal_digest=row["seal_digest"],
        rules=None if rules is None else json.loads(rules),
        rejects=None if rejects is None else json.loads(rejects),
        loaded_at=row["loaded_at"],
    )


def publication_of(row: Sequence[Any]) -> Publication:
    """Read a row of `publications`.

    Args:
        row: sequence, mart_rules_digest, mart_rows, published_at, run_id, slices.
    """
    return Publication(row[0], row[1], json.loads(row[2]), row[3], row[4], row[5])


def require_latest(target: Target, latest: Load | None, run_id: str | None = None) -> Load:
    """Give the latest load, which has to be of a run, if one is named.

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


def require_marks(target: Target, latest: Load, *, found: bool) -> None:
    """See that the raw table tells visible rows from superseded ones, as it did not in 0.1.

    Raises:
        ConfigurationError: The latest load is of version 0.1, and the table was not migrated yet.
    """
    if not found:
        msg = f"run {latest.run_id} was loaded into {target} by an older version"
        raise ConfigurationError(
            msg, remedy="Run `sales-mart load` for it again, which adds what is missing."
        )


def check_sequence(latest: Load, sequence: int) -> None:
    """See that marts were built from the latest load.

    Raises:
        SupersededError: They were built from another one.
    """
    if latest.sequence != sequence:
        msg = f"the marts were built from load {sequence}, the latest is {latest.sequence}"
        raise SupersededError(msg, remedy="Run `sales-mart transform` and `reconcile` again.")


def is_shown(
    published: Publication | None, config: Config, sequence: int
) -> TypeGuard[Publication]:
    """Tell whether the marts of a load, by the rules of now, were published last."""
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
    """Give the latest load's sequence and the sale dates changed since the last publication.

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


def check_built(target: Target, built: Mapping[str, str], found: Mapping[str, str]) -> None:
    """See that the next marts are the ones that `transform` built and tested.

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


def window_to_json(window: Window) -> str | None:
    """Give a window as a JSON array of ISO dates, the text that `load_runs` keeps."""
    if window is None:
        return None
    return json.dumps([day.isoformat() for day in window])


def window_from_json(text: str | None) -> Window:
    """Read a window that `window_to_json` wrote."""
    if text is None:
        return None
    return tuple(date.fromisoformat(day) for day in json.loads(text))


def union_windows(windows: Iterable[Window]) -> Window:
    """Give the window that covers all of `windows`; None as soon as one of them is None."""
    days: set[date] = set()
    for window in windows:
        if window is None:
            return None
        days.update(window)
    return tuple(sorted(days))


def window_months(window: tuple[date, ...]) -> tuple[date, ...]:
    """Give the first days of the months that a window touches, ascending."""
    return tuple(sorted({day.replace(day=1) for day in window}))
