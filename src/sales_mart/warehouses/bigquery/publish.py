"""Publish on BigQuery: delete and insert in one multi-statement transaction.

Readers see all marts of the run before or all marts of this one. Only the window is deleted and
inserted, by literal dates, so whole partitions are dropped and nothing else is read. The live
tables stay the same tables: views and grants on them survive.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud import bigquery

from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.marts import marts_of
from sales_mart.names import (
    PUBLICATIONS,
    PUBLISHED_SLICES,
    mart_schema,
    next_schema,
    published_tables,
    raw_schema,
)
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    built_tables,
    client,
    ensure_dataset,
    existing_table,
    query,
    table_id,
)
from sales_mart.warehouses.bigquery.dialect import (
    date_predicate,
    empty_table,
    guarded_script,
    literal,
)
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.history import (
    Publication,
    Window,
    check_built,
    check_latest,
    check_sequence,
    has_live_tables,
    is_shown,
    latest_publication,
    window_months,
)
from sales_mart.warehouses.published import (
    PublishedMarts,
    check_published,
    check_reconciled,
)
from sales_mart.warehouses.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

__all__ = ["publish_marts", "publish_script"]

_log = logging.getLogger(__name__)

_SLICES_SCHEMA = (
    bigquery.SchemaField("mart", "STRING", "REQUIRED"),
    bigquery.SchemaField("slice", "DATE", description="day or month; null for all of the mart"),
    bigquery.SchemaField("row_count", "INT64", "REQUIRED"),
    bigquery.SchemaField("amount", "NUMERIC"),
    bigquery.SchemaField("quantity", "NUMERIC"),
    bigquery.SchemaField("checksum", "NUMERIC", "REQUIRED"),
)


def publish_marts(  # noqa: PLR0913 - what was found out about the next marts
    config: Config,
    run: RunFolder,
    window: Window,
    sequence: int,
    built: Mapping[str, str],
    *,
    reconciled: Mapping[date, tuple[int, Decimal, int]] | None = None,
    full_refresh: bool = False,
) -> Publication:
    """Make the next marts of a run the ones that readers see, all at once.

    A second call for the same load changes nothing, and sees that the marts are still the same.

    Args:
        config: The configuration.
        run: The run, which must be the latest load.
        window: Sale dates that the next tables hold; None when they hold everything.
        sequence: The load that the next tables were built from.
        built: What tells the next tables apart from others of their names.
        reconciled: Rows, amount and quantity of the next facts by sale date, as `reconcile` found
            them; None to compare with nothing.
        full_refresh: Publish although the load is published already.

    Returns:
        What readers see now.

    Raises:
        ConfigurationError: A table is missing, or has other columns than the next one.
        MartsChangedError: The marts would not be what they should; nothing is changed.
        SupersededError: There is a later load.
        TemporaryError: The server is away or busy, or another attempt builds the tables anew.
    """
    with bigquery_errors(config), client(config) as connected:
        check_sequence(check_latest(BigQuerySession(connected, config), run.run_id), sequence)
        before = latest_publication(BigQuerySession(connected, config))
        recorded = before is not None and before.slices is not None
        marts = PublishedMarts(BigQuery(config))
        ask = partial(_ask, connected)
        published = _published(connected, config, sequence)
        if published is not None and not full_refresh:
            found = marts.differences(ask, window, recorded=recorded)
            check_published(BigQuery.name, found, "Nothing was changed.", run.run_id)
            _log.info("bigquery: load %d is published already", sequence)
            return published
        columns = _ensure_live_tables(connected, config)
        _ensure_records(connected, config)
        check_built(BigQuery.name, built, built_tables(connected, config))
        if reconciled is not None:
            days = Questions(BigQuery(config), ask).days(checksum=False)
            check_reconciled(BigQuery.name, reconciled, days, run.run_id)
        script = publish_script(config, run.run_id, sequence, window, columns, recorded=recorded)
        query(connected, script)
        published = _published(connected, config, sequence)
        if published is None or published == before:
            check_sequence(check_latest(BigQuerySession(connected, config), run.run_id), sequence)
            facts = window if recorded else None
            after = marts.after(window, recorded=recorded)
            found = marts.differences(ask, facts, recorded=True, **after)
            check_published(BigQuery.name, found, "Nothing was published.", run.run_id)
            msg = f"BigQuery does not know of a publication of load {sequence}"
            raise TemporaryError(msg, remedy="Run `sales-mart publish` again.")
    return published


def _ask(client: Client, sql: str) -> Generator[Sequence[Any]]:
    for row in query(client, sql):
        yield row.values()


def _published(client: Client, config: Config, sequence: int) -> Publication | None:
    published = latest_publication(BigQuerySession(client, config))
    if is_shown(published, config, sequence) and has_live_tables(BigQuerySession(client, config)):
        return published
    return None


def _ensure_live_tables(client: Client, config: Config) -> dict[str, list[str]]:
    """Create the live tables that are missing; gives the columns of each table.

    A transaction takes no DDL, so the tables come into being before it, empty.
    """
    ensure_dataset(client, config, mart_schema(config, BigQuery.name))
    columns: dict[str, list[str]] = {}
    marts = {mart.name: mart for mart in marts_of(BigQuery(config))}
    for name, (dataset, _) in published_tables(config, BigQuery.name).items():
        mart, built = marts[name], existing_table(client, _next(config, name))
        if built is None:
            msg = f"{next_schema(config, BigQuery.name)}.{name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        live = existing_table(client, table_id(config, dataset, name))
        if live is None:
            live = bigquery.Table(table_id(config, dataset, name), schema=built.schema)
            live.description = built.description
            if mart.partition is not None:
                live.time_partitioning = bigquery.TimePartitioning(
                    mart.partition.granularity.upper(), mart.partition.column
                )
            if mart.cluster:
                live.clustering_fields = list(mart.cluster)
            live = client.create_table(live, exists_ok=True)
        _check_columns(live, built)
        columns[name] = [field.name for field in built.schema]
    return columns


def _ensure_records(client: Client, config: Config) -> None:
    """Create the table of slices, and give the table of publications its column for them."""
    schema = raw_schema(config)
    slices = table_id(config, schema, PUBLISHED_SLICES)
    if existing_table(client, slices) is None:
        client.create_table(bigquery.Table(slices, schema=_SLICES_SCHEMA), exists_ok=True)
    name = table_id(config, schema, PUBLICATIONS)
    if "slices" in _columns(client, name):
        return
    query(client, f"alter table `{name}` add column if not exists slices int64")
    if "slices" not in _columns(client, name):
        # The emulator's description of a table does not follow the statement.
        described = client.get_table(name)
        described.schema = [*described.schema, bigquery.SchemaField("slices", "INT64")]
        client.update_table(described, ["schema"])


def _columns(client: Client, name: str) -> set[str]:
    return {field.name for field in client.get_table(name).schema}


def _check_columns(live: bigquery.Table, built: bigquery.Table) -> None:
    if _types(live) != _types(built):
        where = f"{live.dataset_id}.{live.table_id}"
        msg = f"{where} has other columns than the table that was built for it"
        raise ConfigurationError(
            msg, remedy=f"Drop {where}; the next `sales-mart transform` builds all of it anew."
        )


def _types(table: bigquery.Table) -> dict[str, tuple[str, int | None]]:
    return {field.name: (field.field_type, field.scale) for field in table.schema}


def _next(config: Config, name: str) -> str:
    return table_id(config, next_schema(config, BigQuery.name), name)


def publish_script(  # noqa: PLR0913 - what the script is about
    config: Config,
    run_id: str,
    sequence: int,
    window: Window,
    columns: dict[str, list[str]],
    *,
    recorded: bool,
) -> str:
    """Give the script that makes the next tables' rows the live tables', all at once.

    It takes all back when the marts are not what was recorded, or do not agree with each other.
    """
    marts = PublishedMarts(BigQuery(config))
    statements = marts.record_sql(window, recorded=recorded)
    counts: list[str] = []
    for name, (dataset, column) in published_tables(config, BigQuery.name).items():
        live = table_id(config, dataset, name)
        listed = ", ".join(f"`{field}`" for field in columns[name])
        statements += [
            _remove(config, live, column, window),
            f"insert into `{live}` ({listed}) select {listed} from `{_next(config, name)}`",
        ]
        counts.append(f"'\"{name}\": ', cast((select count(*) from `{live}`) as string)")
    statements.append(_note(config, run_id, sequence, counts))
    wrong = marts.differences_sql(window if recorded else None, recorded=True)
    return guarded_script(config, run_id, sequence, statements, unless=wrong)


def _remove(config: Config, live: str, column: str, window: Window) -> str:
    if window is None or not column:
        return empty_table(config, live)
    days = window if column == "sale_date" else window_months(window)
    return f"delete from `{live}` where {date_predicate(column, days)}"


def _note(config: Config, run_id: str, sequence: int, counts: Sequence[str]) -> str:
    rows = ", ', ', ".join(counts)
    publications = table_id(config, raw_schema(config), PUBLICATIONS)
    slices = table_id(config, raw_schema(config), PUBLISHED_SLICES)
    return (
        f"insert into `{publications}` "
        "(run_id, sequence, mart_rules_digest, mart_rows, published_at, slices) "
        f"select {literal(run_id)}, {literal(sequence)}, {literal(config.mart_rules_digest)}, "
        f"concat('{{', {rows}, '}}'), current_timestamp(), (select count(*) from `{slices}`)"
    )
