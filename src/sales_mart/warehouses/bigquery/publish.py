"""Publish on BigQuery: delete and insert in one multi-statement transaction.

Readers see all marts of the run before or all marts of this one. Only the window is deleted and
inserted, by literal dates, so whole partitions are dropped and nothing else is read. The live
tables stay the same tables: views and grants on them survive.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from google.cloud import bigquery

from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery.connection import (
    Client,
    add_columns,
    bigquery_errors,
    built_tables,
    client,
    ensure_dataset,
    existing_table,
    query,
    table_id,
)
from sales_mart.warehouses.bigquery.dialect import conditional_script, empty_table
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.bigquery.staging import ensure
from sales_mart.warehouses.differences import check_published
from sales_mart.warehouses.history import (
    Publication,
    check_latest,
    check_sequence,
    is_shown,
    latest_publication,
)
from sales_mart.warehouses.own_tables import PUBLISH_TABLES, QUALITY_TABLES
from sales_mart.warehouses.published import PublishedMarts, mart_window
from sales_mart.warehouses.publishing import (
    check_next,
    column_changes,
    note_sql,
    shown_already,
)
from sales_mart.warehouses.quality import history_sql
from sales_mart.warehouses.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.marts import Mart
    from sales_mart.warehouses.publishing import NextMarts

__all__ = ["publish", "publish_script"]

_log = logging.getLogger(__name__)


def publish(warehouse: BigQuery, following: NextMarts) -> Publication:
    """Make the next marts the published ones, by one script."""
    config = warehouse.config
    with bigquery_errors(config), client(config) as connected:
        session = BigQuerySession(connected, config)
        published, recorded = shown_already(session, following)
        if published is not None:
            return published
        before = latest_publication(session)
        columns = _ensure_live_tables(connected, warehouse, following.window)
        ensure(connected, config, warehouse.raw_schema, PUBLISH_TABLES)
        ensure(connected, config, warehouse.mart_schema, QUALITY_TABLES)
        check_next(session, following, built_tables(connected, warehouse))
        # What is shown already is none of the script, whose length has a limit.
        for statement in history_sql(session, before.sequence if before else 0):
            query(connected, statement)
        history = history_sql(session, following.sequence)
        query(connected, publish_script(warehouse, following, columns, history, recorded=recorded))
        published = latest_publication(session)
        if not is_shown(published, config, following.sequence) or published == before:
            check_sequence(check_latest(session, following.run_id), following.sequence)
            marts, window = PublishedMarts(warehouse), following.window
            after = marts.after(window, recorded=recorded)
            facts = window if recorded else None
            found = marts.differences(session.query, facts, recorded=True, **after)
            check_published(warehouse.name, found, "Nothing was published.", following.run_id)
            msg = f"BigQuery does not know of a publication of load {following.sequence}"
            raise TemporaryError(msg, remedy="Run `sales-mart publish` again.")
    return published


def _ensure_live_tables(
    client: Client, warehouse: BigQuery, window: Window
) -> dict[str, list[str]]:
    """Create the live tables that are missing; gives the columns of each table.

    A transaction takes no DDL, so the tables come into being before it, empty.
    """
    config = warehouse.config
    ensure_dataset(client, config, warehouse.mart_schema)
    columns: dict[str, list[str]] = {}
    for mart in warehouse.marts:
        built = existing_table(client, table_id(config, warehouse.next_schema, mart.name))
        if built is None:
            msg = f"{warehouse.next_schema}.{mart.name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        name = table_id(config, warehouse.schema_of(mart), mart.name)
        live = existing_table(client, name)
        if live is None:
            live = bigquery.Table(name, schema=built.schema)
            live.description = built.description
            if mart.partition is not None:
                live.time_partitioning = bigquery.TimePartitioning(
                    mart.partition.granularity.upper(), mart.partition.column
                )
            if mart.cluster:
                live.clustering_fields = list(mart.cluster)
            live = client.create_table(live, exists_ok=True)
        _evolve(client, config, mart, live, built, window)
        columns[mart.name] = [field.name for field in built.schema]
    return columns


def _evolve(  # noqa: PLR0913 - two tables, and what they are
    client: Client,
    config: Config,
    mart: Mart,
    live: bigquery.Table,
    built: bigquery.Table,
    window: Window,
) -> None:
    """Give a live table the columns that it lacks; what the next one has no more may be null."""
    where = f"{live.dataset_id}.{live.table_id}"
    changes = column_changes(mart, where, _types(live), _types(built), window)
    add_columns(
        client,
        config,
        live,
        [
            bigquery.SchemaField.from_api_repr(field.to_api_repr() | {"mode": "NULLABLE"})
            for field in built.schema
            if field.name in changes.added
        ],
    )
    if any(each.name in changes.removed and each.mode == "REQUIRED" for each in live.schema):
        live.schema = [
            bigquery.SchemaField.from_api_repr(field.to_api_repr() | {"mode": "NULLABLE"})
            if field.name in changes.removed
            else field
            for field in live.schema
        ]
        client.update_table(live, ["schema"])


def _types(table: bigquery.Table) -> dict[str, str]:
    scales = {each.name: "" if each.scale is None else f"({each.scale})" for each in table.schema}
    return {each.name: f"{each.field_type}{scales[each.name]}" for each in table.schema}


def publish_script(
    warehouse: BigQuery,
    following: NextMarts,
    columns: Mapping[str, Sequence[str]],
    history: Sequence[str],
    *,
    recorded: bool,
) -> str:
    """Return the script that makes the next tables' rows the live tables', all at once.

    It takes all back when the marts are not what was recorded, or do not agree with each other.
    """
    marts, window = PublishedMarts(warehouse), following.window
    statements = marts.record_sql(window, recorded=recorded)
    counts: list[str] = []
    for mart in warehouse.marts:
        live = warehouse.live(mart)
        listed = ", ".join(f"`{field}`" for field in columns[mart.name])
        statements += [
            _remove(warehouse, mart, window),
            f"insert into {live} ({listed}) select {listed} from {warehouse.following(mart)}",
        ]
        counts.append(f"'\"{mart.name}\": ', cast((select count(*) from {live}) as string)")
    statements += history
    rows = ", ', ', ".join(counts)
    statements.append(note_sql(warehouse, following, f"concat('{{', {rows}, '}}')"))
    wrong = marts.differences_sql(window if recorded else None, recorded=True)
    return conditional_script(
        warehouse.config, following.run_id, following.sequence, statements, unless=wrong
    )


def _remove(warehouse: BigQuery, mart: Mart, window: Window) -> str:
    if window is None or mart.slice is None:
        return empty_table(
            warehouse.config, table_id(warehouse.config, warehouse.schema_of(mart), mart.name)
        )
    return f"delete from {warehouse.live(mart)} where {mart_window(mart, window)}"
