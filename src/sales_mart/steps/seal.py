"""Step `seal`: duplicates settled across shards, rows counted for good, parts listed."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sales_mart.errors import (
    ConfigurationError,
    DataError,
    EmptyInputError,
    RejectedShareError,
    UnexpectedError,
)
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.parquet import PartWriter, as_quarantine, read_part, record_bytes
from sales_mart.lake.records import Mode, ObjectBytes, Part, Plan, Seal, Validate
from sales_mart.rows.checker import Checker
from sales_mart.rows.identity import conflict_warning, reason_of
from sales_mart.rows.mapping import CARRY_CURRENCY
from sales_mart.rows.rules import CONFLICT
from sales_mart.rows.sums import ValidTotals
from sales_mart.rows.tokens import Tokeniser
from sales_mart.schema import AMOUNT_DIGITS, Schema, schema_of
from sales_mart.steps.duplicates import find_losers, is_conflict
from sales_mart.steps.plan import open_run
from sales_mart.steps.validate import check_encoding, step_name

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.steps.duplicates import First

__all__ = ["seal"]

_log = logging.getLogger(__name__)


def seal(config: Config, run: RunFolder) -> Seal:
    """Close the input of a run.

    Among otherwise valid rows, the first of a transaction_id in source order stays; the others go
    to quarantine. What the record lists is all that later steps read.

    Args:
        config: The configuration of the plan.
        run: The run's folder, with its plan and the record of every shard.

    Returns:
        The final counts and parts, as written to `seal.json`.

    Raises:
        ConfigurationError: A shard has not been validated, the configuration is not the plan's,
            or shards were tokenised with different keys.
        SourceChangedError: A part is gone, or is not the file that `validate` wrote.
        DataError: The amounts add up to more than a warehouse can hold, or are in several
            currencies that nothing keeps apart.
        EmptyInputError: There are rows, the marts would show none of them, and the plan does not
            allow that.
        RejectedShareError: More rows were rejected than `max_reject_share` allows.
        SourceFormatError: Most rows of an object that was cut could not be decoded.
        UnexpectedError: The counts do not add up.
    """
    plan = open_run(config, run)
    shards = [run.read(step_name(shard), Validate) for shard in range(len(plan.shards))]
    key_ids = sorted({shard.key_id for shard in shards})
    if len(key_ids) > 1:
        msg = f"the shards of run {run.run_id} have tokens of different keys: {', '.join(key_ids)}"
        raise ConfigurationError(msg, remedy="Validate all shards again with one key.")
    if not plan.allow_empty:
        _check_encodings(config, plan, shards)
    parts = [_Pair(*pair) for s in shards for pair in zip(s.valid, s.positions, strict=True)]
    totals, reasons = ValidTotals(), Counter[str]()
    for shard in shards:
        totals.add(_totals(shard))
        reasons.update(shard.reasons)
    schema = schema_of(config)
    lost_rows = 0
    with run.temporary("seal") as folder:
        with disk_errors(folder):
            losers = find_losers(run, [pair.valid for pair in parts], schema, folder)
        lost = PartWriter(run, folder, "quarantine/duplicates")
        checker = Checker(config, Tokeniser())
        valid: list[Part] = []
        dates: set[date] = set()
        lost_bytes = Counter[int]()
        start = 0
        for pair in parts:
            out = losers[start : start + pair.valid.rows]
            start += pair.valid.rows
            kept, rows = _settle(run, pair, out, schema, folder)
            valid.extend(kept)
            dates.update(rows.dates)
            if rows.lost is not None:
                totals.add(checker.totals(rows.lost), sign=-1)
                lost_rows += rows.lost.height
                reasons.update(dict(rows.lost["reason"].value_counts().iter_rows()))
                lost.add(_duplicates(rows.lost, plan, schema))
                for each in rows.lost.partition_by("source_file"):
                    lost_bytes[int(each["source_file"][0])] += record_bytes(each)
        lost.flush()
        del losers
    rows_read = sum(shard.rows_read for shard in shards)
    rejected = sum(shard.rows_rejected for shard in shards) + lost_rows
    currencies = sorted({each for shard in shards for each in shard.currencies})
    _check_currencies(currencies)
    _check_share(config, run, rows_read, rejected, reasons)
    _check_amount(config, run, totals.shown.amount)
    record = Seal(
        run_id=run.run_id,
        business_date=plan.business_date,
        mode=plan.mode,
        config_digest=plan.config_digest,
        rows_read=rows_read,
        rows_rejected=rejected,
        reasons=dict(sorted((+reasons).items())),
        **totals.fields,
        key_id=key_ids[0],
        valid=tuple(valid),
        quarantine=(*(part for shard in shards for part in shard.quarantine), *lost.parts),
        warnings=(
            # Several shards may say the same: once is enough.
            *dict.fromkeys(each for shard in shards for each in shard.warnings),
            *conflict_warning(config, reasons[CONFLICT]),
            *_no_rows(plan, rows_read),
        ),
        allow_empty=plan.allow_empty,
        sale_dates=tuple(sorted(dates)),
        objects=_objects(shards, lost_bytes),
        currency=currencies[0] if currencies else None,
    )
    _check_counts(record)
    _check_bytes(record, plan)
    _check_some_shown(run, record)
    run.write("seal", record)
    return record


@dataclass(frozen=True)
class _Pair:
    valid: Part
    positions: Part


@dataclass(frozen=True)
class _Settled:
    dates: list[date]
    lost: pl.DataFrame | None


def _totals(shard: Validate) -> ValidTotals:
    return ValidTotals(shard.rows_valid, Counter(shard.excluded), shard.shown)


def _settle(
    run: RunFolder, pair: _Pair, first: First, schema: Schema, folder: Path
) -> tuple[list[Part], _Settled]:
    """Keep a part as it is, or write it again without its losers."""
    if not first.any():
        dates = read_part(run, pair.valid, ["sale_date"], checked=True)["sale_date"]
        return [pair.valid], _Settled(dates.unique().to_list(), None)
    rows = read_part(run, pair.valid, checked=True)
    mask = pl.Series(np.asarray(first) != 0)
    kept = rows.filter(~mask)
    lost = rows.hstack(read_part(run, pair.positions)).filter(mask)
    conflicts = is_conflict(lost, np.asarray(first)[mask.to_numpy()], schema)
    lost = lost.hstack(pl.select(reason_of(conflicts).alias("reason")))
    writer = PartWriter(run, folder, pair.valid.name.replace("valid/", "valid/sealed-", 1)[:-8])
    writer.add(kept)
    writer.flush()
    return writer.parts, _Settled(kept["sale_date"].unique().to_list(), lost)


def _duplicates(lost: pl.DataFrame, plan: Plan, schema: Schema) -> pl.DataFrame:
    """Return the quarantine rows of duplicates."""
    objects = pl.Series("source_uri", [item.uri for item in plan.objects])
    uris = objects.gather(lost["source_file"])
    if "source_uri" in lost.columns:  # of members of archives
        uris = lost["source_uri"].fill_null(uris)
    return as_quarantine(
        lost.with_columns(
            uris,
            pl.concat_list("reason").alias("reasons"),
            *(pl.col(column.name).alias(field) for field, column in schema.by_field.items()),
        ),
        schema,
    )


def _check_encodings(config: Config, plan: Plan, shards: list[Validate]) -> None:
    """Ask of the objects that were cut what `validate` asks of the others."""
    coded, rows = Counter[int](), Counter[int]()
    for ordinal, count, read in chain.from_iterable(shard.decoded for shard in shards):
        coded[ordinal] += count
        rows[ordinal] += read
    for ordinal, read in rows.items():
        check_encoding(plan.objects[ordinal], config, coded[ordinal], read)


def _check_counts(record: Seal) -> None:
    """Check that the parts hold the rows that were counted: the sums alone always agree."""
    valid = sum(part.rows for part in record.valid)
    rejected = sum(part.rows for part in record.quarantine)
    counted = (record.rows_read, record.rows_valid, record.rows_rejected)
    if counted != (valid + rejected, valid, rejected):
        msg = (
            f"run {record.run_id}: of {counted[0]} rows read, {counted[1]} were counted as valid "
            f"and {counted[2]} as rejected, and its parts hold {valid} and {rejected}"
        )
        raise UnexpectedError(msg, remedy="Report this as a bug.")


def _objects(shards: list[Validate], lost_bytes: Counter[int]) -> tuple[ObjectBytes, ...]:
    """Return the bytes of each object, those of its duplicates among the rejected ones."""
    counts: dict[int, Counter[str]] = {}
    for each in chain.from_iterable(shard.objects for shard in shards):
        counts.setdefault(each.object, Counter()).update(each.model_dump(exclude={"object"}))
    for ordinal, count in lost_bytes.items():
        counts[ordinal].update(valid=-count, rejected=count)
    return tuple(ObjectBytes(object=ordinal, **counts[ordinal]) for ordinal in sorted(counts))


def _check_bytes(record: Seal, plan: Plan) -> None:
    """Check that every byte of every object is accounted for."""
    if [each.object for each in record.objects] != list(range(len(plan.objects))):
        msg = f"run {record.run_id}: bytes were not counted once for each object of the plan"
        raise UnexpectedError(msg, remedy="Report this as a bug.")
    for each in record.objects:
        if each.unaccounted:
            msg = (
                f"{plan.objects[each.object].uri}: of {each.size} bytes, {each.header} were "
                f"counted as header, {each.blank} as blank, {each.valid} as valid and "
                f"{each.rejected} as rejected"
            )
            raise UnexpectedError(msg, remedy="Report this as a bug, with the file's dialect.")


def _no_rows(plan: Plan, read: int) -> list[str]:
    """Say what an input without a row means."""
    if read:
        return []
    about = "all marts" if plan.mode is Mode.REPLACE else f"the batch of {plan.business_date}"
    warning = f"the input has no row, so {about} will be empty"
    _log.warning("%s", warning)
    return [warning]


def _check_some_shown(run: RunFolder, record: Seal) -> None:
    """Refuse rows of which the marts would show none: they would be empty, and look well."""
    shown = record.rows_valid - record.rows_excluded
    if shown or not record.rows_read or record.allow_empty:
        return
    why = _counted(Counter(record.reasons) + Counter(record.excluded))
    msg = f"none of the {record.rows_read} rows is valid and shown by the marts: {why}"
    raise EmptyInputError(
        msg,
        remedy=f"Nothing was loaded. `sales-mart quarantine show {run.run_id}` shows the rows. "
        "Correct the source or rules, or say how the file is written: `sales-mart inspect FILE` "
        "proposes it. --allow-empty of `plan` and `run` says that it is meant.",
    )


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in (+reasons).most_common())


def _check_share(
    config: Config, run: RunFolder, read: int, rejected: int, reasons: Counter[str]
) -> None:
    allowed = config.rules.max_reject_share
    if read and rejected / read > allowed:
        why = _counted(reasons)
        msg = (
            f"{rejected} of {read} rows were rejected, more than the share {allowed:g} of "
            f"ingestion.validation.max_reject_share: {why}"
        )
        raise RejectedShareError(
            msg,
            remedy=f"Nothing was loaded. `sales-mart quarantine show {run.run_id}` shows the rows. "
            "Correct the source.",
        )


def _check_currencies(found: list[str]) -> None:
    """Refuse amounts in several currencies, which every sum would add."""
    if len(found) > 1:
        msg = (
            f"the column currency, which is not carried, has {len(found)} values: "
            f"{', '.join(found)}; amounts in different currencies are never added"
        )
        raise DataError(msg, remedy=f"Nothing was loaded. {CARRY_CURRENCY}")


def _check_amount(config: Config, run: RunFolder, amount: Decimal) -> None:
    """Check that every total fits its column: amounts are positive, so this one is the largest."""
    decimals = config.rules.max_decimals
    if amount >= Decimal(10) ** (AMOUNT_DIGITS - decimals):
        msg = (
            f"the amounts of run {run.run_id} add up to {amount:f}, and a total has at most "
            f"{AMOUNT_DIGITS} digits, {decimals} of them behind the point"
        )
        raise DataError(
            msg,
            remedy="Look for prices and quantities that are wrong; nothing was loaded. A lower "
            "ingestion.validation.max_quantity would have rejected them.",
        )
