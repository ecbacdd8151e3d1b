"""What a warehouse's history of loads and publications means; each one only asks for its rows."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from sales_mart.errors import ConfigurationError, SupersededError, TemporaryError
from sales_mart.lake.records import Load, Mode, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Seal

__all__ = [
    "Publication",
    "Window",
    "check_built",
    "check_key",
    "check_sequence",
    "is_shown",
    "load_of",
    "pending",
    "publication_of",
    "require_latest",
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


def load_of(target: Target, row: Sequence[Any]) -> Load:
    """Read a row of `load_runs`.

    Args:
        target: The warehouse.
        row: run_id, mode, sequence, rows, yielded_rows, sale_date_window, seal_digest, loaded_at.
    """
    return Load(
        run_id=row[0],
        target=target,
        mode=Mode(row[1]),
        sequence=row[2],
        rows=row[3],
        yielded_rows=row[4],
        window=window_from_json(row[5]),
        seal_digest=row[6],
        loaded_at=row[7],
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


def check_sequence(latest: Load, sequence: int) -> None:
    """See that marts were built from the latest load.

    Raises:
        SupersededError: They were built from another one.
    """
    if latest.sequence != sequence:
        msg = f"the marts were built from load {sequence}, the latest is {latest.sequence}"
        raise SupersededError(msg, remedy="Run `sales-mart transform` and `reconcile` again.")


def check_key(held: str | None, seal: Seal) -> None:
    """Refuse to put tokens of two keys into one table: one identifier would count as two.

    Args:
        held: Id of the key of the tokens in the table; None when it is empty.
        seal: What is to be loaded.

    Raises:
        ConfigurationError: The keys differ.
    """
    if held is not None and held != seal.key_id:
        msg = f"the table holds tokens of key {held}, run {seal.run_id} has key {seal.key_id}"
        raise ConfigurationError(
            msg, remedy="Use the key of before, or load the whole history anew in replace mode."
        )


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
