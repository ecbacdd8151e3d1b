"""Step `plan`: which objects make this run, in which shards, under which configuration."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import ConfigurationError, EmptyInputError
from sales_mart.lake.records import Mode, Plan
from sales_mart.lake.runs import RunFolder
from sales_mart.schema import schema_of
from sales_mart.source.address import (
    DATE_MARK,
    check_placeholders,
    is_daily,
    names_below,
    on_day,
)
from sales_mart.source.listing import find_objects
from sales_mart.source.ready import Readiness
from sales_mart.steps.shards import RANGE_BYTES, make_shards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.records import SourceObject
    from sales_mart.lake.storage import Storage

__all__ = ["open_run", "plan", "sources"]

_log = logging.getLogger(__name__)

_MOST_SHOWN = 5


def sources(config: Config, source: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the patterns of the source: those given, else the configuration's.

    Raises:
        ConfigurationError: There is no source, one has another placeholder than the date, or some
            are daily and some are not.
    """
    patterns = (source,) if isinstance(source, str) else tuple(source or config.sources)
    if not patterns:
        msg = "no source is given"
        raise ConfigurationError(msg, remedy="Use --source, or set data_lake.source.")
    check_placeholders(patterns)
    if len({is_daily([pattern]) for pattern in patterns}) > 1:
        msg = f"only some of the sources have {DATE_MARK}"
        raise ConfigurationError(msg, remedy="Put {date} into all of them, or into none.")
    return patterns


def plan(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    config: Config,
    lake: Storage | str,
    *,
    business_date: date,
    source: str | Sequence[str] | None = None,
    mode: Mode | None = None,
    run_id: str | None = None,
    shards: int = 1,
    shard_bytes: int = 0,
    range_bytes: int = RANGE_BYTES,
    allow_empty: bool = False,
) -> Plan:
    """Find the run's objects and write `plan.json`.

    Args:
        config: The configuration.
        lake: Where runs are kept: a folder or a bucket prefix.
        business_date: Day that the input belongs to; it replaces `{date}` in the source, and
            `{date:…}` in strftime's notation.
        source: Files, folders or globs. Default: the configuration's source.
        mode: Default: `append` for a daily source, `replace` for a snapshot.
        run_id: Default: derived from the inputs, the business date and the configuration.
        shards: At most this many groups of objects, of about equal bytes. A large text file is cut
            between two records, where it is not compressed.
        shard_bytes: No more shards than give each about so many bytes.
        range_bytes: No file is cut into pieces of fewer bytes, about.
        allow_empty: Take files of no bytes for empty ones, and accept rows of which the marts
            show none.

    Returns:
        The plan; the one that is there already when this run was planned before, with the places
        in which the same objects stand now.

    Raises:
        NoSourceObjectError: The source matches no object, or a link whose file is missing.
        EmptyInputError: An object has no bytes.
        SourceNotReadyError: An object may not be read yet.
        ConfigurationError: The run id already has other inputs; a daily source is to replace
            everything, or a snapshot to be appended; there is no source, or no shard.
    """
    patterns = sources(config, source)
    natural = Mode.APPEND if is_daily(patterns) else Mode.REPLACE
    if mode is not None and mode is not natural:
        kind = "daily source" if natural is Mode.APPEND else "snapshot"
        msg = f"mode {mode} does not fit this {kind}"
        raise ConfigurationError(
            msg,
            remedy=f"A source with {DATE_MARK} in it is appended day by day; one without is the "
            "whole truth and replaces it.",
        )
    warnings: list[str] = []
    objects = _named(
        find_objects(
            [on_day(each, business_date) for each in patterns],
            warnings.append,
            Readiness.of(config.data_lake),
        ),
        patterns,
    )
    _check_bytes(objects, warnings, allow_empty=allow_empty)
    identity = [natural, str(business_date), config.digest, *_contents(config, objects)]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    shared_out = make_shards(
        config, objects, shards, shard_bytes=shard_bytes, range_bytes=range_bytes
    )
    made = Plan(
        run_id=run_id or f"{business_date}-{digest[:12]}",
        business_date=business_date,
        mode=natural,
        source=" ".join(patterns),
        objects=tuple(objects),
        **shared_out._asdict(),
        config_digest=config.digest,
        allow_empty=allow_empty,
        warnings=tuple(warnings),
    )
    for warning in warnings:
        _log.warning("%s", warning)
    run = RunFolder(lake, made.run_id)
    try:
        run.write("plan", made, create=True)
    except FileExistsError:
        return _known(config, run, made)
    return made


def _named(objects: Sequence[SourceObject], patterns: Sequence[str]) -> list[SourceObject]:
    """Return the objects with their names below what the sources have in common."""
    names = names_below([each.uri for each in objects], patterns)
    return [each.model_copy(update={"name": names[each.uri]}) for each in objects]


def _contents(config: Config, objects: Sequence[SourceObject]) -> list[str]:
    """Return what decides the rows of a run: the bytes, and names where identifiers have them."""
    parts = {part for origin in schema_of(config).fields.values() for part in origin.parts}
    names = [each.name for each in objects] if ("$file",) in parts else []
    return [each.digest for each in objects] + names


def _known(config: Config, run: RunFolder, made: Plan) -> Plan:
    """Return the plan that is there, if it is the same run."""
    there = run.read("plan", Plan)

    def inputs(each: Plan) -> object:
        return each.mode, each.business_date, _contents(config, each.objects)

    what = ""
    if inputs(there) != inputs(made):
        what = "other inputs"
    elif there.config_digest != made.config_digest:
        what = "another configuration"
    if what:
        msg = f"run {run.run_id} already has {what}"
        raise ConfigurationError(msg, remedy="Choose another --run-id, or leave it out.")
    # What was said last counts.
    now = there.model_copy(update={"allow_empty": made.allow_empty, "warnings": made.warnings})
    if there.objects != made.objects:
        # The same contents under other names: the old ones may be gone, or be something else.
        now = now.model_copy(update={"source": made.source, "objects": made.objects})
    if now != there:
        run.write("plan", now)
    return now


def _check_bytes(
    objects: Sequence[SourceObject], warnings: list[str], *, allow_empty: bool
) -> None:
    """Refuse objects of no bytes: an upload that broke off, or an export that failed, leaves them.

    Raises:
        EmptyInputError: There are some, and they are not meant.
    """
    empty = [
        escape_control_characters(each.uri, on_one_line=True) for each in objects if not each.size
    ]
    if not empty:
        return
    more = f" and {len(empty) - _MOST_SHOWN} more" if len(empty) > _MOST_SHOWN else ""
    shown = ", ".join(empty[:_MOST_SHOWN]) + more
    if not allow_empty:
        msg = f"no bytes, not even a header, are in {shown}"
        raise EmptyInputError(
            msg,
            remedy="Let the upload finish, or deliver the file again; --allow-empty takes it for "
            "an empty one.",
        )
    warnings.append(f"no bytes are in {shown}: taken for empty")


def open_run(config: Config, run: RunFolder) -> Plan:
    """Read the plan of a run and see that the configuration is still the plan's.

    Raises:
        ConfigurationError: There is no plan, or it was made under another configuration.
    """
    made = run.read("plan", Plan)
    run.check_digest(made.config_digest, config.digest)
    return made
