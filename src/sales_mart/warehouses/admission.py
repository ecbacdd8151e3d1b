"""Whether a sealed run may be loaded after the loads that are there: the same in every warehouse.

Nothing here asks a warehouse; what is refused, is refused before anything has changed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import ConfigurationError, DataError
from sales_mart.lake.records import Load, Mode
from sales_mart.rows.mapping import CARRY_CURRENCY
from sales_mart.rows.rule_changes import CURRENCY, loosened, rules_as_data
from sales_mart.schema import schema_of
from sales_mart.warehouses.base import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Seal
    from sales_mart.lake.runs import RunFolder

__all__ = [
    "PAST_LOAD_COLUMNS",
    "LoadOptions",
    "PastLoad",
    "check_admission",
    "check_removed_share",
    "deliveries",
    "earlier_delivery",
    "last_snapshot",
]

_DAYS_SHOWN = 10


class LoadOptions(NamedTuple):
    """What whoever loads a run has said about it.

    Attributes:
        accept_new_key: A snapshot may replace tokens of another key.
        accept_new_rules: A batch may be appended by rules that admit more than those before.
        by_run_id: The run was asked for by its id, so it may be a former one.
    """

    accept_new_key: bool = False
    accept_new_rules: bool = False
    by_run_id: bool = True


class PastLoad(NamedTuple):
    """One row of `load_runs`: the last snapshot, or a load after it."""

    sequence: int
    run_id: str
    business_date: date
    mode: str
    key_id: str
    visible_rows: int | None
    rules: str | None
    rejects: str | None
    grain: str | None


PAST_LOAD_COLUMNS = PastLoad._fields


def last_snapshot(past: Sequence[PastLoad]) -> PastLoad | None:
    """Return the load that replaced everything before it; None when there was none."""
    return past[0] if past and past[0].mode == Mode.REPLACE else None


def earlier_delivery(past: Sequence[PastLoad], day: date) -> PastLoad | None:
    """Return the delivery of a business date that the table holds; rows of a snapshot are none."""
    return deliveries(past).get(day)


def deliveries(past: Sequence[PastLoad]) -> dict[date, PastLoad]:
    """Return the latest delivery of each business date since the snapshot."""
    return {load.business_date: load for load in past if load.mode == Mode.APPEND}


def check_admission(  # noqa: PLR0913 - what a load is checked by
    config: Config,
    run: RunFolder,
    seal: Seal,
    options: LoadOptions,
    past: Sequence[PastLoad],
    *,
    holds_rows: bool,
) -> None:
    """Check that a run may be loaded.

    Args:
        config: The configuration of the run.
        run: The run.
        seal: What is to be loaded.
        options: What the user said about it.
        past: The last snapshot and every load after it, in their order.
        holds_rows: Whether the raw table has any row.

    Raises:
        ConfigurationError: The tokens have another key, or the run has the snapshot's id.
        DataError: A snapshot is older than the last load, an append has looser rules, or the input
            is empty and was not said to be.
    """
    if not past:
        return
    if holds_rows:
        _check_key(past[-1], seal, options)
    if seal.mode is Mode.REPLACE:
        _check_age(past[-1], run, seal, options)
        return
    snapshot = last_snapshot(past)
    if snapshot is not None and snapshot.run_id == seal.run_id:
        msg = f"run {seal.run_id} is to be appended to the snapshot of the same name"
        raise ConfigurationError(msg, remedy="Choose another --run-id, or leave it out.")
    if not options.accept_new_rules:
        _check_rules(past, seal, rules_as_data(config))
        _check_same_currency(past, seal)
        if holds_rows:
            _check_currency(
                past, seal, [each.name for each in schema_of(config).of_role("currency")]
            )


def _check_key(latest: PastLoad, seal: Seal, options: LoadOptions) -> None:
    """Refuse to put tokens of two keys into one table: one identifier would count as two."""
    if latest.key_id == seal.key_id:
        return
    msg = f"the table holds tokens of key {latest.key_id}, run {seal.run_id} has key {seal.key_id}"
    if seal.mode is Mode.APPEND:
        raise ConfigurationError(
            msg, remedy="Use the previous key, or load the whole history anew in replace mode."
        )
    if not options.accept_new_key:
        raise ConfigurationError(
            msg,
            remedy="Use the previous key. If the key was changed on purpose, say so: "
            "--accept-new-key.",
        )


def _check_age(latest: PastLoad, run: RunFolder, seal: Seal, options: LoadOptions) -> None:
    """Refuse an older snapshot after a newer load, unless a former run is asked for by its id."""
    if seal.business_date >= latest.business_date:
        return
    if options.by_run_id and any(run.find(f"load-{target}", Load) for target in names()):
        return
    msg = (
        f"run {seal.run_id} is a snapshot of {seal.business_date}, and load {latest.sequence} "
        f"(run {latest.run_id}) is of {latest.business_date}"
    )
    raise DataError(
        msg,
        remedy="Nothing was changed. Run the newest snapshot, under its own --business-date. A "
        "run that was loaded before is shown again by its --run-id.",
    )


def _that_stay(past: Sequence[PastLoad], seal: Seal) -> list[PastLoad]:
    """Return the loads whose rows stay: the snapshot, then the deliveries of other days by day."""
    snapshot = last_snapshot(past)
    days = sorted(deliveries(past).values(), key=lambda load: load.business_date)
    others = [load for load in days if load.business_date != seal.business_date]
    return [snapshot, *others] if snapshot else others


def _as_snapshot(load: PastLoad, snapshot: PastLoad | None) -> str:
    return " (a snapshot)" if load is snapshot else ""


def _check_rules(past: Sequence[PastLoad], seal: Seal, now: Mapping[str, Any]) -> None:
    """Refuse rules that admit rows which are rejected in loads that still count.

    A delivery that was loaded again since does not count, nor does the one that this run replaces.
    Whoever loaded by rules as loose as these meanwhile has been asked, and has accepted them.
    """
    snapshot = last_snapshot(past)
    last_use = {load.rules: load.sequence for load in past if load.rules is not None}
    admitted = _reasons_by_rules(tuple(last_use), now)
    found: dict[str, list[str]] = defaultdict(list)
    for load in _that_stay(past, seal):
        if load.rules is None or load.rejects is None:
            continue
        rejects = _parsed(load.rejects)
        for reason in sorted(admitted[load.rules]):
            accepted = any(
                sequence > load.sequence
                and reason in loosened(_parsed(load.rules), _parsed(rules))
                and reason not in admitted[rules]
                for rules, sequence in last_use.items()
            )
            if rejects.get(reason) and not accepted:
                found[reason].append(f"{load.business_date}{_as_snapshot(load, snapshot)}")
    if not found:
        return
    listed = "; ".join(f"{reason} of {_shown(each)}" for reason, each in sorted(found.items()))
    msg = f"the rules now accept rows that earlier loads rejected: {listed}"
    raise DataError(
        msg,
        remedy="Nothing was changed. Restore the rule, or use --accept-new-rules for this run, "
        "and for those days, which have to be run again to get their rows.",
        details={"days": dict(found)},
    )


def _check_currency(past: Sequence[PastLoad], seal: Seal, now: Sequence[str]) -> None:
    """Refuse to put rows with a currency beside rows that say none, or another column.

    As with the rules, whoever did so with the last load has been asked.
    """

    def currency(load: PastLoad) -> list[str]:
        return [] if load.grain is None else json.loads(load.grain)

    if currency(past[-1]) == now:
        return
    snapshot = last_snapshot(past)
    found = [
        f"{load.business_date}{_as_snapshot(load, snapshot)}"
        for load in _that_stay(past, seal)
        if currency(load) != now
    ]
    if not found:
        return
    theirs = " and ".join(sorted({name for load in past for name in currency(load)} - {*now}))
    msg = (
        f"run {seal.run_id} has {' and '.join(now) or 'no column'} as the currency, loads before "
        f"it have {theirs or 'none'}: {_shown(found)}"
    )
    raise DataError(
        msg,
        remedy="Nothing was changed. Restore ingestion.attributes, load the history anew in "
        "replace mode, or use --accept-new-rules for this run and for those days, which have to "
        "be run again: until then the marts show their amounts under no currency.",
        details={"days": found},
    )


def _check_same_currency(past: Sequence[PastLoad], seal: Seal) -> None:
    """Refuse amounts in another currency than those of loads that still count."""
    if seal.currency is None:
        return
    for load in _that_stay(past, seal):
        before = _parsed(load.rules or "{}").get(CURRENCY)
        if before is not None and before != seal.currency:
            msg = (
                f"run {seal.run_id} has amounts in {seal.currency}, and load {load.sequence} (run "
                f"{load.run_id}) in {before}: amounts in different currencies are never added"
            )
            raise DataError(
                msg,
                remedy=f"Nothing was changed. {CARRY_CURRENCY}",
            )


def _reasons_by_rules(each: Sequence[str], now: Mapping[str, Any]) -> dict[str, set[str]]:
    return {rules: loosened(_parsed(rules), now) for rules in each}


@cache
def _parsed(text: str) -> dict[str, Any]:
    return json.loads(text)


def _shown(days: Sequence[str]) -> str:
    more = f" and {len(days) - _DAYS_SHOWN} more" if len(days) > _DAYS_SHOWN else ""
    return ", ".join(days[:_DAYS_SHOWN]) + more


def check_removed_share(config: Config, seal: Seal, before: int, after: int) -> None:
    """Refuse a load that takes too many of the visible rows away.

    Args:
        config: The configuration.
        seal: What is to be loaded.
        before: Visible rows before the load.
        after: Visible rows after it.

    Raises:
        DataError: More are gone than `max_removed_share` allows, or the input has no row and was
            not said to be empty.
    """
    allowed = config.rules.max_removed_share
    empty = seal.rows_read == 0
    if allowed >= 1 or not before or (empty and seal.allow_empty):
        return
    if empty:
        msg = f"the input of run {seal.run_id} has no row, and {before} rows are visible"
        raise DataError(
            msg,
            remedy="Nothing was changed. Look at the source; if it is meant to be empty, run it "
            "with --allow-empty.",
        )
    if (before - after) / before > allowed:
        msg = (
            f"after run {seal.run_id} {after} rows would be visible, {before} are now: more would "
            f"be removed than the share {allowed:g} of ingestion.validation.max_removed_share"
        )
        raise DataError(
            msg,
            remedy="Nothing was changed. Look at the source; if these rows are meant to go, start "
            "the same run again with SALES_MART_INGESTION__VALIDATION__MAX_REMOVED_SHARE=1.",
        )
