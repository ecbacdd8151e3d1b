"""What the catalogue is asked about owners: `owners` says what the answers mean."""

from __future__ import annotations

from typing import LiteralString

__all__ = ["CHILD", "CREATORS", "FINDINGS", "OWNERS", "ROLES"]

CHILD = "^sales_mart_load_[0-9a-f]{16}$"
"""Names of the tables that a load has filled side by side, which inherit from the raw one."""
# `trusted` may own a schema: who can drop and replace everything in it in any case.
ROLES: LiteralString = """
    with recursive ours as (
        select theirs.oid
        from pg_roles as mine
        inner join pg_roles as theirs
            on theirs.oid = mine.oid or (theirs.rolsuper and mine.rolsuper)
        where mine.rolname = current_user
        union
        select roleid from pg_auth_members inner join ours on member = ours.oid
    ),

    superusers as (
        select oid from pg_roles where rolsuper
    ),

    trusted as (
        select oid from ours
        union
        select oid from superusers
        union
        select oid from pg_roles where rolname = 'pg_database_owner'
        union
        select datdba from pg_database where datname = current_database()
    )
"""
OWNERS: LiteralString = """
    select
        relname,
        relowner in (select oid from ours)
        or (%(reads)s and not has_schema_privilege(current_user, relnamespace, 'CREATE')),
        quote_ident(%(schema)s) || '.' || quote_ident(relname),
        null,
        quote_ident(pg_get_userbyid(relowner)),
        quote_ident(current_user)
    from pg_class
    where
        relname = any(%(relations)s)
        and relnamespace = (select oid from pg_namespace where nspname = %(schema)s)
"""
# A view or a table calls what its defaults, constraints, indexes and rules depend on; what came
# with the server itself has no entries in pg_depend.
FINDINGS: LiteralString = """,

    expected as (
        select schema_name, relation_name, kinds
        from
            unnest(%(schemas)s::text[], %(relations)s::text[], %(kinds)s::text[])
                as given (schema_name, relation_name, kinds)
    ),

    places as (
        select
            oid,
            nspname,
            nspowner,
            not %(reads)s or has_schema_privilege(current_user, oid, 'CREATE') as is_ours
        from pg_namespace
        where nspname in (select schema_name from expected)
    ),

    named as (
        select pg_class.oid, nspname, kinds, is_ours, relkind
        from expected
        inner join places on nspname = schema_name
        inner join pg_class on relnamespace = places.oid and relname = relation_name
    ),

    partitions as (
        select inhrelid as oid, nspname, is_ours
        from named
        inner join pg_inherits on inhparent = named.oid
        inner join pg_class as part on part.oid = inhrelid
        where
            (named.relkind = 'p' and strpos(kinds, 'p') > 0)
            or (strpos(kinds, '+') > 0 and part.relname ~ %(child)s)
    ),

    relations as (
        select
            pg_class.oid,
            nspname,
            relname,
            relowner,
            pg_class.relkind,
            kinds,
            is_ours,
            row_security_active(pg_class.oid) or relforcerowsecurity as is_filtered
        from (
            select oid, nspname, kinds, is_ours from named
            union all
            select oid, nspname, 'r', is_ours from partitions
        ) as found
        inner join pg_class on pg_class.oid = found.oid
    ),

    parts as (
        select oid as relation, 'pg_class'::regclass as class, oid as part from relations
        union all
        select indrelid, 'pg_class'::regclass, indexrelid
        from pg_index
        where indrelid in (select oid from relations)
        union all
        select adrelid, 'pg_attrdef'::regclass, oid
        from pg_attrdef
        where adrelid in (select oid from relations)
        union all
        select conrelid, 'pg_constraint'::regclass, oid
        from pg_constraint
        where conrelid in (select oid from relations)
        union all
        select ev_class, 'pg_rewrite'::regclass, oid
        from pg_rewrite
        where ev_class in (select oid from relations)
    ),

    called as (
        select relation, 'function ' || refobjid::regprocedure::text as called, proowner as owner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_proc on refclassid = 'pg_proc'::regclass and refobjid = pg_proc.oid
        union all
        select relation, 'operator ' || refobjid::regoperator::text, oprowner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_operator
            on refclassid = 'pg_operator'::regclass and refobjid = pg_operator.oid
        union all
        select relation, 'type ' || refobjid::regtype::text, typowner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_type on refclassid = 'pg_type'::regclass and refobjid = pg_type.oid
    ),

    findings as (
        select 1 as rank, 'schema' as kind, nspname as schema, null as relation, null as what,
            nspowner as owner
        from places
        where is_ours and nspowner not in (select oid from trusted)
        union all
        select 2, 'relation', nspname, relname, null, relowner
        from relations
        where is_ours and relowner not in (select oid from ours)
        union all
        select 3, 'function', nspname, proname, pg_proc.oid::regprocedure::text, proowner
        from expected
        inner join places on nspname = schema_name
        inner join pg_proc on pronamespace = places.oid and proname = relation_name
        where is_ours and proowner not in (select oid from ours)
        union all
        select 3, 'type', nspname, typname, null, typowner
        from expected
        inner join places on nspname = schema_name
        inner join pg_type on typnamespace = places.oid and typname = relation_name
        where
            is_ours
            and typrelid = 0
            and typelem = 0
            and typowner not in (select oid from ours)
        union all
        select 4, 'kind', nspname, relname, null, relowner
        from relations
        where strpos(kinds, relkind::text) = 0
        union all
        select 5, 'trigger', nspname, relname, quote_ident(tgname), relowner
        from relations
        inner join pg_trigger on tgrelid = relations.oid
        where not tgisinternal
        union all
        select 5, 'rule', nspname, relname, quote_ident(rulename), relowner
        from relations
        inner join pg_rewrite on ev_class = relations.oid
        where rulename <> '_RETURN'
        union all
        select 5, 'policy', nspname, relname, null, relowner
        from relations
        where is_filtered
        union all
        select 5, 'inheritance', nspname, relname, null, relowner
        from relations
        where exists (
            select
            from pg_inherits
            where
                relations.oid in (inhrelid, inhparent)
                and inhrelid not in (select oid from partitions)
        )
        union all
        select 6, 'call', nspname, relname, called, owner
        from called
        inner join relations on relations.oid = relation
        where is_ours and owner not in (select oid from ours union select oid from superusers)
    )

    select
        kind,
        quote_ident(schema) || coalesce('.' || quote_ident(relation), ''),
        what,
        quote_ident(pg_get_userbyid(owner)),
        quote_ident(current_user)
    from findings
    order by rank, schema, relation, what
"""
CREATORS: LiteralString = """
    select
        quote_ident(nspname),
        case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
    from pg_namespace
    cross join aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    where
        nspname = any(%s)
        and privilege_type = 'CREATE'
        and grantee <> nspowner
        and grantee not in (select oid from trusted)
    order by 1, 2
"""
