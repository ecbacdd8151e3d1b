"""A published mart that is a table, as earlier versions of the program made it, becomes a view.

The table itself is attached as version 0, so no row is copied, and a snapshot of before still sees
it. Grants, owner and comments go to the view. Views bind by identity, not by name: those that read
the table are made again on the view, or nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString, NamedTuple

from psycopg.errors import Error
from psycopg.sql import Identifier

from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.postgres.versions import (
    add_version,
    attach,
    columns_of,
    create_parent,
    create_view,
    forget_version,
    run,
)

if TYPE_CHECKING:
    from sales_mart.marts import Mart
    from sales_mart.warehouses.postgres import PostgreSQL
    from sales_mart.warehouses.postgres.connection import Connection

__all__ = ["adopt"]

# What is part of the table, its indexes, constraints and statistics, goes where it goes.
_DEPENDENTS: LiteralString = """
    select distinct
        coalesce(view.oid, 0),
        coalesce(
            view.oid::regclass::text, pg_describe_object(pg_depend.classid, pg_depend.objid, 0)
        ),
        coalesce(view.relkind = 'v', false),
        coalesce(pg_has_role(view.relowner, 'usage'), false),
        quote_ident(pg_get_userbyid(view.relowner)),
        array_to_string(view.reloptions, ', '),
        pg_get_viewdef(view.oid)
    from pg_depend
    left join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = objid
    left join pg_class as view on view.oid = ev_class
    where
        refclassid in ('pg_class'::regclass, 'pg_type'::regclass)
        and refobjid in (
            select to_regclass(%(table)s)::oid
            union all
            select unnest(array[reltype, typarray])
            from pg_class
            inner join pg_type on pg_type.oid = reltype
            where pg_class.oid = to_regclass(%(table)s)
        )
        and deptype = 'n'
        and pg_depend.classid <> 'pg_statistic_ext'::regclass
    order by 2
"""
_OWNER: LiteralString = """
    select quote_ident(pg_get_userbyid(relowner)), pg_get_userbyid(relowner) = current_user
    from pg_class
    where oid = to_regclass(%s) and relkind = 'r'
"""
_GRANTS: LiteralString = """
    select
        privilege_type || coalesce(' (' || quote_ident(attname) || ')', ''),
        case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
        case when is_grantable then ' with grant option' else '' end
    from (
        select null as attname, relowner, relacl as acl
        from pg_class
        where oid = to_regclass(%(table)s)
        union all
        select attname, relowner, attacl
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        where attrelid = to_regclass(%(table)s) and attnum > 0 and not attisdropped
    ) as granted
    cross join aclexplode(acl)
    where grantee <> relowner
"""


class _Dependent(NamedTuple):
    """What would stay on the table: a view, or something that cannot be made again."""

    oid: int
    name: str
    is_view: bool
    is_ours: bool
    owner: str | None
    options: str | None
    definition: str | None


def adopt(connection: Connection, warehouse: PostgreSQL, mart: Mart) -> None:
    """Turn a published table into a view on version 0; nothing is done where it is a view.

    Raises:
        ConfigurationError: Something depends on the table that cannot be made again.
    """
    config, schema = warehouse.config, warehouse.schema_of(mart)
    live = Identifier(schema, mart.name)
    name = live.as_string(connection)
    found = connection.execute(_OWNER, (name,)).fetchone()
    if found is None:
        return
    owner, is_ours = found
    run(connection, "lock table {live} in access exclusive mode", live=live)  # nobody adds a view
    dependents = _dependents(connection, name)
    grants = connection.execute(_GRANTS, {"table": name}).fetchall()
    columns = columns_of(connection, live)
    add_version(connection, live, 0)
    create_parent(connection, config, mart.name, columns)
    forget_version(connection, config, mart.name)
    first = attach(connection, config, mart.name, 0, schema=schema, table=mart.name)
    create_view(connection, config, mart.name, live, first)
    for privilege, grantee, option in grants:
        connection.execute(f"grant {privilege} on {name} to {grantee}{option}".encode())
    for each in dependents:
        _rebind(connection, name, each)
    if not is_ours:
        connection.execute(f"alter view {name} owner to {owner}".encode())


def _dependents(connection: Connection, table: str) -> list[_Dependent]:
    found = [
        _Dependent(*row) for row in connection.execute(_DEPENDENTS, {"table": table}).fetchall()
    ]
    for each in found:
        if not each.is_view:
            raise _refused(table, each, "Drop it, publish again, and make it again.")
        if not each.is_ours:
            user = connection.execute("select quote_ident(current_user)").fetchall()[0][0]
            raise _refused(
                table,
                each,
                f"Let an administrator run: grant {each.owner} to {user}; publish again, and take "
                f"it back: revoke {each.owner} from {user}; or let its owner drop the view, and "
                "make it again afterwards.",
            )
    return found


def _rebind(connection: Connection, table: str, view: _Dependent) -> None:
    """Make a view read the view that has the table's name now; all else of it stays."""
    options = f" with ({view.options})" if view.options else ""
    try:
        connection.execute(
            f"create or replace view {view.name}{options} as {view.definition}".encode()
        )
    except Error as error:
        reason = error.diag.message_primary or type(error).__name__
        remedy = f"Drop it, publish again, and make it again ({reason})."
        raise _refused(table, view, remedy) from None


def _refused(table: str, found: _Dependent, remedy: str) -> ConfigurationError:
    owner = f" of {found.owner}" if found.owner else ""
    return ConfigurationError(
        f"PostgreSQL: {found.name}{owner} reads the table {table}, which becomes a view, and "
        "cannot be moved to it",
        remedy=f"Nothing was changed. {remedy}",
    )
