"""`verify`: whether what readers see is what the raw tables, and the publications, say."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from sales_mart.errors import (
    ConfigurationError,
    DataError,
    MartsChangedError,
    SalesMartError,
    TemporaryError,
)
from sales_mart.lake.storage import open_storage
from sales_mart.names import QUALITY_HISTORY
from sales_mart.steps.export import check_digests, export_place, read_manifest
from sales_mart.warehouses.base import open_warehouse, warehouse_class
from sales_mart.warehouses.differences import differing_days, listed
from sales_mart.warehouses.history import (
    has_live_tables,
    is_shown,
    latest_publication,
    pending_window,
)
from sales_mart.warehouses.published import PublishedMarts
from sales_mart.warehouses.quality import differing_runs, history_differences, loaded_runs
from sales_mart.warehouses.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.storage import Storage
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.quality import LoadedRun
    from sales_mart.warehouses.questions import DayTotals

__all__ = ["Check", "Verification", "verify"]

Status = Literal["ok", "failed", "skipped"]

_REBUILD = (
    "Repeat the last `sales-mart run` with its options and `--full-refresh`: it builds all marts "
    "anew from the raw table. If rows are missing in the raw table, load their days again first."
)
_EXPORT = "Run `sales-mart export` for the run that is published."


class Check(BaseModel):
    """One comparison: what was compared, how it ended, and what to do about it."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    message: str
    remedy: str = ""


class Verification(BaseModel):
    """All comparisons; `exit_code` is 0 when none failed, else 65."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return DataError.exit_code if any(c.status == "failed" for c in self.checks) else 0


@dataclass(frozen=True)
class _Side:
    """What one warehouse shows."""

    target: str
    published: Publication
    days: Mapping[date, DayTotals]
    marts: Mapping[str, tuple[int, Decimal]]
    runs: Mapping[str, LoadedRun]


class _Checks:
    """The checks so far."""

    def __init__(self) -> None:
        self.done: list[Check] = []

    def add(self, name: str, found: Sequence[object], agreed: str, remedy: str = _REBUILD) -> None:
        """Add a check that fails when something was found."""
        if found:
            self.done.append(
                Check(name=name, status="failed", message=listed(found), remedy=remedy)
            )
        else:
            self.done.append(Check(name=name, status="ok", message=agreed))

    def skip(self, name: str, why: str, remedy: str = "") -> None:
        """Add a check that could not be made."""
        self.done.append(Check(name=name, status="skipped", message=why, remedy=remedy))


def verify(
    config: Config,
    targets: Sequence[str],
    *,
    lake: str | None = None,
    destination: str | None = None,
) -> Verification:
    """Compare the published marts with raw, with each other, and with their export.

    Nothing is changed, so a role that may only read is enough. What is read of PostgreSQL is of one
    moment.

    Args:
        config: The configuration.
        targets: Warehouses to look at.
        lake: The lake, below which the export is unless a place is given or configured.
        destination: Folder or bucket prefix of the export.

    Raises:
        ConfigurationError: Nothing has been published, or the warehouse refuses.
        TemporaryError: A warehouse does not answer, or another run was published meanwhile.
    """
    checks = _Checks()
    sides = [side for target in targets if (side := _look_at(checks, config, target)) is not None]
    for side in sides[1:]:
        _compare(checks, sides[0], side)
    place = destination or (export_place(config, lake or "") if _has_place(config, lake) else None)
    if place is None:
        checks.skip("export", "neither a lake nor a folder for exports is configured")
    elif sides:
        _check_export(checks, config, open_storage(place), sides)
    return Verification(checks=tuple(checks.done))


def _has_place(config: Config, lake: str | None) -> bool:
    return bool(config.data_mart.export or lake)


def _look_at(checks: _Checks, config: Config, target: str) -> _Side | None:
    """Compare the marts of one warehouse with raw and with each other."""
    with ExitStack() as stack:
        warehouse = open_warehouse(config, target)
        session = stack.enter_context(warehouse.session())
        published = latest_publication(session)
        if published is None:
            msg = f"nothing has been published in {target}"
            raise ConfigurationError(msg, remedy="Run `sales-mart run` first.")
        if not has_live_tables(session):
            checks.add(f"{target}: marts", ["a published mart is gone"], "")
            return None
        recorded = published.slices is not None
        marts = PublishedMarts(warehouse)
        found = marts.differences(session.query, None, recorded=recorded)
        ours = [each for each in found if each.is_of_record]
        between = [each for each in found if not each.is_of_record]
        questions = Questions(warehouse, session.query, published=True)
        runs = loaded_runs(session, published.sequence)
        side = _Side(target, published, questions.days(checksum=True), questions.marts(), runs)
        rows = sum(day.sums.rows for day in side.days.values())
        agreed = f"{rows} rows of {len(side.days)} days, run {published.run_id}"
        if recorded:
            checks.add(f"{target}: marts and their publication", ours, agreed)
        else:
            checks.skip(
                f"{target}: marts and their publication",
                "the version that published them did not record what it published",
                "The next publication does.",
            )
        checks.add(f"{target}: marts with each other", between, agreed)
        name = f"{target}: facts and raw"
        sequence, window = pending_window(session)
        pending = () if is_shown(published, config, sequence) else window
        if pending is None:
            checks.skip(name, "all marts wait to be published", "Run `sales-mart run`.")
        else:
            waits = set(pending)
            shown, raw = (
                {day: totals for day, totals in days.items() if day not in waits}
                for days in (side.days, questions.raw_days())
            )
            differing = differing_days(warehouse.fact_table, "raw", shown, raw)
            waiting = f"; {len(waits)} more days wait to be published" if waits else ""
            rows = sum(day.sums.rows for day in raw.values())
            checks.add(name, differing, f"{rows} rows of {len(raw)} days{waiting}")
        _check_history(checks, target, history_differences(session, published.sequence), len(runs))
        if latest_publication(session) != published:
            msg = f"another run was published in {target} at the same moment"
            raise TemporaryError(msg, remedy="Run `sales-mart verify` again.")
    return side


def _check_history(
    checks: _Checks, target: str, differing: Sequence[str] | None, runs: int
) -> None:
    """Compare `quality_history` with what was noted of the loads that the marts show."""
    name = f"{target}: {QUALITY_HISTORY} and loads"
    if differing is None:
        checks.skip(name, f"there is no {QUALITY_HISTORY} yet", "The next publication makes it.")
        return
    found = [f"{QUALITY_HISTORY} has other rows of run {run} than it should" for run in differing]
    checks.add(name, found, f"{runs} runs")


def _compare(checks: _Checks, here: _Side, there: _Side) -> None:
    """Compare what two warehouses show."""
    name = f"{here.target} and {there.target}"
    if here.published.run_id != there.published.run_id:
        message = (
            f"{here.target} shows run {here.published.run_id}, "
            f"{there.target} shows {there.published.run_id}"
        )
        remedy = "Let the newer run finish in both: run it again."
        checks.add(name, [message], "", remedy)
        return
    facts, others = (warehouse_class(side.target).fact_table for side in (here, there))
    other = f"{others} of {there.target}"
    found: list[object] = [*differing_days(facts, other, here.days, there.days)]
    found += [
        f"{mart} has {rows} rows in {here.target} and {there.marts[mart][0]} in {there.target}, "
        "or other values"
        for mart, (rows, checksum) in here.marts.items()
        if there.marts[mart] != (rows, checksum)
    ]
    found += [
        f"{QUALITY_HISTORY} of {here.target} and of {there.target} have other rejected rows of "
        f"run {run}"
        for run in differing_runs(here.runs, there.runs)
    ]
    rows = sum(day.sums.rows for day in here.days.values())
    checks.add(name, found, f"{rows} rows of {len(here.days)} days are the same")


def _check_export(
    checks: _Checks, config: Config, storage: Storage, sides: Sequence[_Side]
) -> None:
    """Compare the files of an export with its manifest, and that with what is published."""
    manifest = read_manifest(storage)
    if manifest is None:
        checks.skip("export", f"{storage.uri} holds no export", _EXPORT)
        return
    files: list[dict[str, Any]] = manifest.get("files", [])
    found = [problem for each in files if (problem := _file_problem(storage, each))]
    checks.add("export: files", found, f"{len(files)} files in {storage.uri}", _EXPORT)
    run_id = manifest.get("run_id")
    side = next((each for each in sides if each.published.run_id == run_id), None)
    if side is None:
        shown = ", ".join(sorted({each.published.run_id for each in sides}))
        message = f"the export is of run {run_id}, published is {shown}"
        checks.add("export: publication", [message], "", _EXPORT)
        return
    try:
        other = check_digests(config, side.target, manifest)
    except MartsChangedError as error:
        checks.skip("export: publication", "the marts themselves were changed", error.remedy)
        return
    said = [f"{name} is not what the published summary gives" for name in other]
    checks.add("export: publication", said, f"the summary of run {run_id}", _EXPORT)


def _file_problem(storage: Storage, listed_file: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a file; None when it is what the manifest says."""
    name = str(listed_file.get("name"))
    try:
        with storage.local(name) as path, path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{name} is missing"
    except SalesMartError as error:
        return error.message
    return None if digest == listed_file.get("sha256") else f"{name} is not what the manifest says"
