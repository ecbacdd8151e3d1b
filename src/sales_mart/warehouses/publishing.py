"""What publishing is in every warehouse: what must be so before, and what is recorded."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, NamedTuple, cast

from sales_mart.errors import ConfigurationError
from sales_mart.names import PUBLICATIONS, PUBLISHED_SLICES
from sales_mart.warehouses.differences import check_published, check_reconciled
from sales_mart.warehouses.history import (
    check_built,
    check_latest,
    check_sequence,
    has_live_tables,
    is_shown,
    latest_publication,
)
from sales_mart.warehouses.published import PublishedMarts
from sales_mart.warehouses.quality import history_sql
from sales_mart.warehouses.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from decimal import Decimal

    from sales_mart.marts import Mart
    from sales_mart.rows.sums import Sums
    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.windows import Window

__all__ = [
    "ColumnChanges",
    "NextMarts",
    "check_next",
    "column_changes",
    "note_sql",
    "publish_in_transaction",
    "shown_already",
]

_log = logging.getLogger(__name__)


class NextMarts(NamedTuple):
    """What was found out about the next marts.

    Attributes:
        run_id: The run, which must be the latest load.
        window: Sale dates that the next tables hold; None when they hold everything.
        sequence: The load that the next tables were built from.
        built: What `built_tables` gave when they were tested.
        facts: Rows and sums of the next facts by sale date, as `reconcile` found them; None to
            compare with nothing.
        marts: Rows and checksum of each other next mart, as `reconcile` found them.
        full_refresh: Publish although the load is published already.
    """

    run_id: str
    window: Window
    sequence: int
    built: Mapping[str, str]
    facts: Mapping[date, Sums] | None = None
    marts: Mapping[str, tuple[int, Decimal]] = {}
    full_refresh: bool = False


class ColumnChanges(NamedTuple):
    """How the columns of a published mart differ from those of the next one.

    Attributes:
        added: Columns that the published mart lacks, and gets.
        removed: Columns that the next mart has no more: they stay, and are null from then on.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]


def column_changes(
    mart: Mart, where: str, live: Mapping[str, str], following: Mapping[str, str], window: Window
) -> ColumnChanges:
    """Compare the columns of a published mart with those of the next one.

    Args:
        mart: What its YAML says of it.
        where: What to call the published mart in an error.
        live: Type by name of its columns.
        following: Type by name of the next one's.
        window: Sale dates that the next mart holds; None when it holds everything.

    Raises:
        ConfigurationError: The next mart lacks a column of its YAML, a column has another type,
            or one is new and only some of the days were built.
    """
    lacking = [column.name for column in mart.columns if column.name not in following]
    if lacking:
        msg = f"the next {mart.name} has other columns than its YAML: no {', '.join(lacking)}"
        raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run again.")
    changed = [name for name, kind in following.items() if live.get(name, kind) != kind]
    if changed:
        shown = ", ".join(f"{name} is {live[name]}, now {following[name]}" for name in changed)
        msg = f"{where} has columns of other types than the run: {shown}"
        raise ConfigurationError(
            msg,
            remedy="Restore ingestion.validation (max_decimals, quantity_decimals) or the type of "
            "the column, or drop the mart (with the views on it) and run transform, reconcile and "
            "publish again: it is created again.",
        )
    changes = ColumnChanges(
        tuple(name for name in following if name not in live),
        tuple(name for name in live if name not in following),
    )
    if changes.added and window is not None:
        msg = f"{where} lacks {', '.join(changes.added)}, and only some of its days were built"
        raise ConfigurationError(
            msg, remedy="Run `sales-mart transform --full-refresh`, reconcile and publish."
        )
    return changes


def shown_already(session: Session, following: NextMarts) -> tuple[Publication | None, bool]:
    """Return the publication when it is of these marts, and nobody has changed them since.

    Returns:
        The publication, None when there is something to publish; and whether the last
        publication has recorded its slices.

    Raises:
        MartsChangedError: They are published, and somebody has changed them.
        SupersededError: There is a later load.
    """
    warehouse = session.warehouse
    check_sequence(check_latest(session, following.run_id), following.sequence)
    published = latest_publication(session)
    recorded = published is not None and published.slices is not None
    if (
        following.full_refresh
        or not is_shown(published, warehouse.config, following.sequence)
        or not has_live_tables(session)
    ):
        return None, recorded
    found = PublishedMarts(warehouse).differences(
        session.query, following.window, recorded=recorded
    )
    check_published(warehouse.name, found, "Nothing was changed.", following.run_id)
    _log.info("%s: load %d is published already", warehouse.name, following.sequence)
    return published, recorded


def check_next(session: Session, following: NextMarts, found: Mapping[str, str]) -> None:
    """Check that the next marts are the ones that were tested and compared.

    Args:
        session: A session, in which nobody can build them anew where the server can do that.
        following: What was found out about them.
        found: What `built_tables` gives now.

    Raises:
        MartsChangedError: They are not what `reconcile` found.
        TemporaryError: Another attempt has built some of them anew since.
    """
    warehouse = session.warehouse
    check_built(warehouse.name, following.built, found)
    if following.facts is not None:
        questions = Questions(warehouse, session.query)
        check_reconciled(
            warehouse,
            following,
            questions.days(checksum=False),
            questions.marts() if following.marts else {},
        )


def publish_in_transaction(  # noqa: PLR0913 - keyword-only, each said by the warehouse
    session: Session,
    execute: Callable[[str], object],
    following: NextMarts,
    publish_mart: Callable[[Mart], None],
    *,
    recorded: bool,
    move: Callable[[], bool] | None = None,
) -> Publication:
    """Make the next marts current in an open transaction, which the caller commits.

    Args:
        session: A session in the transaction.
        execute: Runs a statement in it.
        following: What was found out about the next marts.
        publish_mart: Makes the rows of one next mart the live ones.
        recorded: Whether the last publication has recorded its slices.
        move: Makes the next tables themselves the live ones, as the last thing that is done; False
            when that is not possible now. Facts that were just recorded are not read again then.

    Raises:
        MartsChangedError: The marts would not be what they should.
    """
    warehouse, window = session.warehouse, following.window
    marts = PublishedMarts(warehouse)
    for statement in marts.record_sql(window, recorded=recorded):
        execute(statement)

    def check(facts: Window, live: Mapping[str, str]) -> None:
        found = marts.differences(session.query, facts, recorded=True, live=live)
        check_published(warehouse.name, found, "Nothing was published.", following.run_id)

    if move is not None:
        check((), marts.next)
    counts = dict(session.query(marts.rows_sql()))
    rows = json.dumps({mart.name: int(counts.get(mart.name, 0)) for mart in warehouse.marts})
    for statement in history_sql(session, following.sequence):
        execute(statement)
    execute(note_sql(warehouse, following, warehouse.dialect.literal(rows)))
    if move is None or not move():
        for mart in warehouse.marts:
            publish_mart(mart)
        check(window if recorded else None, marts.live)
    return cast("Publication", latest_publication(session))


def note_sql(warehouse: Warehouse, following: NextMarts, mart_rows: str) -> str:
    """Return the statement that notes a publication.

    Args:
        warehouse: The warehouse.
        following: What is published.
        mart_rows: Expression of the rows of each mart, as a JSON object.
    """
    dialect, schema = warehouse.dialect, warehouse.raw_schema
    values = {
        "sequence": dialect.literal(following.sequence),
        "run_id": dialect.literal(following.run_id),
        "mart_rules_digest": dialect.literal(warehouse.config.mart_rules_digest),
        "mart_rows": mart_rows,
        "published_at": dialect.now,
        "slices": f"(select count(*) from {dialect.table(schema, PUBLISHED_SLICES)})",
    }
    return (
        f"insert into {dialect.table(schema, PUBLICATIONS)} ({', '.join(values)}) "
        f"select {', '.join(values.values())}"
    )
