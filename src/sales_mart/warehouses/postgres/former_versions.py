"""Versions of the marts that nobody can see any more are dropped.

A snapshot from before a publication, be it of a reader who has not read a mart yet, sees the former
version. Without it, a mart would be empty there, and no error would say so.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, LiteralString

from psycopg.sql import SQL, Identifier

from sales_mart.errors import SalesMartError
from sales_mart.names import raw_schema
from sales_mart.warehouses.postgres.connection import Connection, connect
from sales_mart.warehouses.postgres.owners import CURRENT_VERSIONS, exists
from sales_mart.warehouses.postgres.versions import pointer, run

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.warehouses.postgres import PostgreSQL

__all__ = ["drop_former_versions"]

_log = logging.getLogger(__name__)

_PATIENCE = "3s"
"""How long a former version waits for its readers, before it is left to a later run.

Autovacuum gives way after `deadlock_timeout`, which is a second.
"""
# Freezing the rows moves the table's horizon to the oldest snapshot of the database, which a role
# could not ask for otherwise. Where it has passed the publication, nobody sees the row of before.
_IS_PAST: LiteralString = """
    select age(relfrozenxid) < (
        select min(age(xmin)) from {versions} where version = (select max(version) from {versions})
    )
    from pg_class
    where oid = to_regclass(%s)
"""
_FORMER: LiteralString = """
    select relname, parent, is_pending
    from (
        select
            relname,
            cast(substring(relname from '^v([0-9]+)__') as bigint) as version,
            substring(relname from '^v[0-9]+__(.*)$') as mart,
            inhparent::regclass::text as parent,
            coalesce(inhdetachpending, false) as is_pending
        from pg_class
        left join pg_inherits on inhrelid = pg_class.oid
        where relnamespace = (select oid from pg_namespace where nspname = %s)
            and relkind = 'r' and relname ~ '^v[0-9]+__'
    ) as found
    inner join {versions} as shown on shown.mart = found.mart
    where found.version < shown.version
    order by is_pending desc, relname
"""


def drop_former_versions(warehouse: PostgreSQL) -> None:
    """Drop the versions that nobody can see any more; what is still read is left to a later run."""
    config = warehouse.config
    try:
        with connect(config) as connection:
            connection.autocommit = True  # a partition is not detached within a transaction
            if exists(connection, raw_schema(config), CURRENT_VERSIONS):
                _drop_former_versions(connection, config)
    except SalesMartError as error:
        _log.info("postgres: a former version of the marts stays for now: %s", error.message)


def _drop_former_versions(connection: Connection, config: Config) -> None:
    schema, versions = raw_schema(config), pointer(config)
    former = connection.execute(SQL(_FORMER).format(versions=versions), (schema,)).fetchall()
    if not former:
        return
    connection.execute("select set_config('lock_timeout', %s, false)", (_PATIENCE,))
    run(connection, "vacuum (freeze) {versions}", versions=versions)
    asked = SQL(_IS_PAST).format(versions=versions)
    if connection.execute(asked, (versions.as_string(connection),)).fetchone() != (True,):
        _log.info(
            "postgres: a former version of the marts stays, since an open transaction sees it"
        )
        return
    for name, parent, is_pending in former:
        table = Identifier(schema, name)
        if parent is not None:
            run(
                connection,
                "alter table {parent} detach partition {table} {how}",
                parent=SQL(parent),
                table=table,
                how=SQL("finalize" if is_pending else "concurrently"),
            )
        run(connection, "drop table {table}", table=table)
    _log.info("postgres: dropped %d tables of former versions", len(former))
