"""The rows that runs rejected: which runs have some, how many by reason, and the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError
from sales_mart.lake.parquet import read_part
from sales_mart.lake.records import Load, Plan, Seal, Validate
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.rows.rules import reasons_of
from sales_mart.steps.validate import step_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.records import Part

__all__ = [
    "Choice",
    "Rejects",
    "check_reason",
    "counts",
    "first_of",
    "rejects_of",
    "rejects_since",
    "rows",
    "run_of",
]

_ARCHIVE = ".zip"
_PARTS = 3
"""Parts of the name of a record: `runs/<id>/plan.json`."""
_ORDER = ("source_file", "source_row")
_PLACES = ("source_uri", "source_row", "line", "byte_offset", "byte_length", "reasons")


@dataclass(frozen=True)
class Rejects:
    """What one run rejected.

    Attributes:
        run: The run.
        plan: What it read.
        rows_read: Its rows.
        rows_rejected: Those that were rejected.
        reasons: These by reason; a row may have many.
        parts: Where they are.
    """

    run: RunFolder
    plan: Plan
    rows_read: int
    rows_rejected: int
    reasons: dict[str, int]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Choice:
    """Which rows are asked for.

    Attributes:
        file: End of the path of their file, of its archive or of a member; None for any.
        reason: One of their reasons; None for any.
    """

    file: str | None = None
    reason: str | None = None

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return those among some rows of a quarantine part."""
        if self.file is not None:
            uri = pl.concat_str(pl.lit("/"), "source_uri", pl.lit("!"))
            named = (uri.str.contains(each, literal=True) for each in self._whole_names)
            rows = rows.filter(pl.any_horizontal(named))
        if self.reason is not None:
            rows = rows.filter(pl.col("reasons").list.contains(self.reason))
        return rows

    @property
    def _whole_names(self) -> tuple[str, ...]:
        """What the address of such a file has in it, with `/` before it and `!` behind."""
        return ("",) if self.file is None else (f"/{self.file}!", f"!{self.file}!")

    def check(self, config: Config, found: Sequence[Rejects]) -> None:
        """See that there are such a reason and file: no row of a misspelt one looks like good news.

        Raises:
            ConfigurationError: One is not there. Of the members of archives nobody knows.
        """
        uris = [item.uri for each in found for item in each.plan.objects]
        named = (part in f"/{uri}!" for uri in uris for part in self._whole_names)
        if uris and not any(named) and not any(uri.lower().endswith(_ARCHIVE) for uri in uris):
            msg = f"no file that was read is called {self.file!r}"
            raise ConfigurationError(
                msg, remedy="`sales-mart quarantine list` names the files with rejected rows."
            )
        known = dict.fromkeys(reason for each in found for reason in each.reasons)
        check_reason(self.reason, reasons_of(config) | known)


def check_reason(reason: str | None, known: Iterable[str]) -> None:
    """See that a reason, if one is given, is known.

    Raises:
        ConfigurationError: It is not.
    """
    names = list(known)
    if reason is not None and reason not in names:
        msg = f"{reason!r} is no reason{hint(reason, names)}"
        raise ConfigurationError(msg, remedy="`sales-mart quarantine explain` lists the reasons.")


def run_of(lake: str, run_id: str | None) -> RunFolder:
    """Return a run, by default the one that was loaded last.

    Raises:
        ConfigurationError: None is named, and none was loaded.
    """
    storage = open_storage(lake)
    if run_id is not None:
        return RunFolder(storage, run_id)
    loads = [
        (RunFolder(storage, parts[1]), parts[2].removesuffix(".json"))
        for parts in _records(storage.names("runs/"))
        if parts[2].startswith("load-")
    ]
    if not loads:
        msg = f"no run in {storage.uri} has been loaded"
        raise ConfigurationError(msg, remedy="Give a run's id, or another lake.")
    return max(loads, key=lambda each: each[0].read(each[1], Load).loaded_at)[0]


def rejects_of(run: RunFolder) -> Rejects:
    """Return what a run rejected, also when it ended before it was sealed.

    Raises:
        ConfigurationError: There is no such run, or its rows have not been checked.
    """
    plan = run.find("plan", Plan)
    found = plan and _rejects_of(run, plan)
    if not found:
        msg = f"there is no run {run.run_id} in {run.lake.uri} whose rows were checked"
        raise ConfigurationError(
            msg, remedy='Give the run\'s id, and its lake by --lake or as quarantine(lake="…").'
        )
    return found


def rejects_since(lake: str, first: date) -> list[Rejects]:
    """Return what the runs of a business date and the later ones rejected, by date.

    Runs whose rows have not been checked are left out.
    """
    storage = open_storage(lake)
    found: list[Rejects] = []
    for _, run_id, name in _records(storage.names("runs/")):
        run = RunFolder(storage, run_id)
        plan = run.read("plan", Plan) if name == "plan.json" else None
        if plan and plan.business_date >= first and (each := _rejects_of(run, plan)):
            found.append(each)
    return sorted(found, key=lambda each: (each.plan.business_date, each.run.run_id))


def first_of(days: int, last: date) -> date:
    """Return the first of so many days, of which one is the last."""
    return last - timedelta(days=days - 1)


def counts(found: Rejects, choice: Choice) -> list[dict[str, Any]]:
    """Count the rows of a run by file and reason; a row with two reasons counts for each."""
    by = ("file", "reason")
    frames = [
        choice.of(read_part(found.run, part, ["source_uri", "reasons"]))
        .explode("reasons")
        .group_by(file="source_uri", reason="reasons")
        .agg(pl.len().alias("rows"))
        for part in found.parts
    ]
    if not frames:
        return []
    made = pl.concat(frames).group_by(by).sum()
    if choice.reason is not None:
        made = made.filter(pl.col("reason") == choice.reason)
    made = made.sort("file", "rows", "reason", descending=[False, True, False])
    return [{"run_id": found.run.run_id, **row} for row in made.iter_rows(named=True)]


def rows(found: Rejects, choice: Choice, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many rows are asked for, and the first of them: place, reasons and fields.

    What is personal in the fields is a token.
    """
    count, kept = 0, pl.DataFrame()
    for part in found.parts:
        chosen = choice.of(read_part(found.run, part))
        count += chosen.height
        kept = pl.concat([kept, chosen], how="diagonal").sort(_ORDER).head(limit)
    return count, list(_documents(kept))


def _documents(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in frame.iter_rows(named=True):
        fields = {name: row[name] for name in row if name not in {*_PLACES, *_ORDER}}
        yield {**{name: row[name] for name in _PLACES}, "fields": fields}


def _records(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names of the records of all runs, in their parts."""
    for name in names:
        parts = name.split("/")
        if len(parts) == _PARTS and name.endswith(".json"):
            yield parts


def _rejects_of(run: RunFolder, plan: Plan) -> Rejects | None:
    seal = run.find("seal", Seal)
    if seal is not None:
        records = [seal]
    else:
        shards = [run.find(step_name(shard), Validate) for shard in range(len(plan.shards))]
        records = [each for each in shards if each is not None]
        if len(records) < len(shards):
            return None
    reasons: dict[str, int] = {}
    for each in records:
        for reason, count in each.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return Rejects(
        run=run,
        plan=plan,
        rows_read=sum(each.rows_read for each in records),
        rows_rejected=sum(each.rows_rejected for each in records),
        reasons=reasons,
        parts=tuple(part for each in records for part in each.quarantine),
    )
