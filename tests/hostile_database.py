"""A database in which another role may create things, and has created what would run as ours.

Everything that is planted raises an error when it is called, which no step survives unseen.
"""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.config import Config

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.servers.local import LocalServers

TYPES = ("text", "integer", "bigint", "numeric", "date", "timestamp", "boolean", "name", "oid")
OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "||", "~", "!~", "~~", "~~*")
# What our SQL and dbt's call besides what the search below finds in the sources.
CALLED = (
    *("abs", "array_agg", "array_to_string", "current_database", "generate_series", "nextval"),
    *("obj_description", "pg_get_viewdef", "pg_table_is_visible", "version", "unnest", "array_cat"),
    *("hash_record", "hash_record_extended", "hashtext", "hashtextextended", "numeric", "date"),
)
TABLES = ("pg_sales", "summary_sales", "load_runs", "raw_transactions", "sales_mart_batch")


class Hostile(NamedTuple):
    """The database, and its roles: the pipeline's own one and the attacker."""

    server: str
    database: str
    pipeline: str
    attacker: str
    password: str
    port: int

    def execute(self, user: str | None, *statements: str, **values: str) -> None:
        """Run statements as a role, or as the superuser, each in a transaction of its own."""
        with self.connect(user) as connection:
            connection.execute("set search_path = pg_catalog")
            for statement in statements:
                names = {
                    "pipeline": Identifier(self.pipeline),
                    "attacker": Identifier(self.attacker),
                    "database": Identifier(self.database),
                    **{key: Identifier(value) for key, value in values.items()},
                }
                connection.execute(SQL(statement).format(**names))  # pyright: ignore[reportArgumentType]

    @contextmanager
    def connect(self, user: str | None) -> Generator[psycopg.Connection[Any]]:
        """Connect as a role, or as the superuser."""
        login: dict[str, Any] = {} if user is None else {"user": user, "password": self.password}
        with psycopg.connect(
            self.server, dbname=self.database, autocommit=True, **login
        ) as connection:
            yield connection

    def config(
        self, user: str | None = None, like: Config | None = None, *, mart: str | None = None
    ) -> Config:
        """Return a configuration of a role, the pipeline's by default, with schemas of its own.

        With `like`, the schemas are those of another configuration.
        """
        unique = uuid.uuid4().hex[:10]
        postgres = {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": self.database,
            "user": user or self.pipeline,
            "password": self.password,
            "sslmode": "disable",
            "lock_timeout": 2,
        }
        return Config.model_validate(
            {
                "data_warehouse": {
                    "dataset": like.data_warehouse.dataset if like else f"raw_{unique}",
                    "targets": ["postgres"],
                    "postgres": postgres,
                },
                "data_mart": {
                    "postgres_schema": like.data_mart.postgres_schema
                    if like
                    else mart or f"shown_{unique}",
                },
            }
        )


@contextmanager
def hostile_database(servers: LocalServers) -> Generator[Hostile]:
    """Make the database, its roles and everything that the attacker plants in `public`."""
    unique = uuid.uuid4().hex[:10]
    assert servers.postgres_url is not None
    assert servers.postgres_port is not None
    made = Hostile(
        servers.postgres_url,
        f"hostile_{unique}",
        f"pipeline_{unique}",
        f"attacker_{unique}",
        "pw",
        servers.postgres_port,
    )
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        for role in (made.pipeline, made.attacker):
            admin.execute(
                SQL("create role {} login password {}").format(
                    Identifier(role), Literal(made.password)
                )
            )
        admin.execute(SQL("create database {}").format(Identifier(made.database)))
    made.execute(
        None,
        "grant create on database {database} to {pipeline}, {attacker}",
        # As it was up to PostgreSQL 14.
        "grant create on schema public to public",
    )
    with made.connect(made.attacker) as connection:
        connection.execute(_plant().encode())
    yield made
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        admin.execute(SQL("drop database {} with (force)").format(Identifier(made.database)))
        for role in (made.pipeline, made.attacker):
            admin.execute(SQL("drop role {}").format(Identifier(role)))


def called_functions() -> set[str]:
    """Find the names of what our SQL and that of dbt's adapter for PostgreSQL call."""
    import dbt.include.postgres

    import sales_mart
    from sales_mart.dbt_runner.project import project_folder

    folders = (
        Path(sales_mart.__file__).parent,
        project_folder(),
        Path(dbt.include.postgres.__file__).parent,
    )
    texts = [
        path.read_text()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".sql")
    ]
    return {*CALLED, *re.findall(r"\b([a-z][a-z0-9_]+)\(", "\n".join(texts))}


def _plant() -> str:
    """Write the statements of the attacker.

    Of what is called, those functions are planted that the server has too, for every combination of
    up to two types, and for records.
    """
    names = ", ".join(f"'{name}'" for name in sorted(called_functions()))
    signatures = [
        *TYPES,
        "record",
        *(", ".join(pair) for pair in product(TYPES, TYPES)),
        *("record, integer", "text, text, text", "text, integer, integer", "text[], text"),
    ]
    values = ", ".join(f"('{signature}')" for signature in signatures)
    operators = "".join(
        f"create operator public.{name} (leftarg = {left}, rightarg = {right}, function = "
        f"public.planted);\n"
        for name in OPERATORS
        for left, right in product(TYPES, TYPES)
    )
    pairs = "".join(
        f"create function public.planted({left}, {right}) returns boolean language plpgsql as "
        f"$$ begin raise exception 'planted operator ran'; end $$;\n"
        for left, right in product(TYPES, TYPES)
    )
    tables = "".join(
        f"""
        create table public.{name} (transaction_id text);
        create trigger planted before insert or update or delete on public.{name}
            for each row execute function public.planted_trigger();
        grant all on public.{name} to public;
        """
        for name in TABLES
    )
    return f"""
        do $do$
        declare
            planted record;
        begin
            for planted in
                select distinct proname, signature
                from pg_proc
                cross join (values {values}) as given (signature)
                where
                    pronamespace = 'pg_catalog'::regnamespace
                    and proname in ({names})
                    and proname <> 'planted'
            loop
                execute format(
                    'create function public.%I(%s) returns text language plpgsql as '
                    '$f$ begin raise exception ''planted %s(%s) ran''; end $f$',
                    planted.proname, planted.signature, planted.proname, planted.signature
                );
            end loop;
        end
        $do$;
        {pairs}
        {operators}
        create function public.planted_trigger() returns trigger language plpgsql as
            $$ begin raise exception 'planted trigger ran'; end $$;
        create function public.planted_default() returns integer language plpgsql as
            $$ begin raise exception 'planted default ran'; end $$;
        {tables}
        create view public.stg_transactions as select public.planted_default() as price;
    """
