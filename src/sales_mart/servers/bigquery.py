"""The local BigQuery server, without the work that it does in vain.

    python -m sales_mart.servers.bigquery start --rest-port=9050

It copies a table whole after every change of it, for time travel that nobody asks for here: a load
of n parts would copy n(n + 1)/2 of them, and keep the copies for a week. It parses each statement
more than ten times, which is most of its work; a copy of the tree is had for a fifth of that, and
who only looks at it needs none. Nor does it remember what a statement is to DuckDB, which depends
on nothing but the statement, the types of the columns and who asks. It keeps each query for good;
here one that changes nothing is forgotten with the process.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from bqemulator.catalog import ddl_sync
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.cli import main
from bqemulator.jobs import executor
from bqemulator.sql import inner_query
from bqemulator.sql.translator import SQLTranslator
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PARSED, _MOST_TRANSLATED = 256, 1024
_ONLY_LOOK: tuple[tuple[Any, str], ...] = (
    (ddl_sync, "_detect_catalog_drop"),
    (ddl_sync, "_detect_create_schema"),
    (ddl_sync, "_detect_plain_create_table"),
    (executor, "_reject_dml_on_immutable"),
    (executor, "classify_statement_type"),
    (inner_query, "build_catalog_schema"),
)
"""Functions that parse a statement and change nothing in its tree, nor do those that they tell."""
_looks: ContextVar[bool] = ContextVar("looks", default=False)


def _looking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function have the tree itself instead of a copy."""

    @wraps(function)
    def look(*arguments: Any, **options: Any) -> Any:
        token = _looks.set(True)
        try:
            return function(*arguments, **options)
        finally:
            _looks.reset(token)

    return look


def _remember_trees(dialect: Any) -> None:
    parse_anew = dialect.parse

    @lru_cache(_MOST_PARSED)
    def parsed(self: Any, sql: str, **options: Any) -> list[Any] | SqlglotError:
        try:
            return parse_anew(self, sql, **options)
        except SqlglotError as error:  # as scripts give, again and again
            return error

    def parse(self: Any, sql: str, **options: Any) -> list[Any]:
        trees = parsed(self, sql, **options)
        if isinstance(trees, SqlglotError):
            raise trees.with_traceback(None)
        return trees if _looks.get() else [tree and tree.copy() for tree in trees]

    dialect.parse = parse
    for module, name in _ONLY_LOOK:
        setattr(module, name, _looking(getattr(module, name)))


def _remember_translations(translator: Any) -> None:
    translate = translator.translate
    translated: dict[tuple[str, str], Any] = {}

    def remember(self: Any, sql: str, **context: Any) -> Any:
        key = sql, repr(context)
        found = translated.get(key)
        if found is None:
            found = translate(self, sql, **context)
            if len(translated) >= _MOST_TRANSLATED:
                translated.clear()
            if found.is_ok():
                translated[key] = found
        return found

    translator.translate = remember


def _keep_less(snapshots: Any, repository: Any) -> None:
    write_job = repository._write_job  # noqa: SLF001 - no public place is as narrow

    def keep_nothing(*_: Any, **__: Any) -> None:
        """Copy no table."""

    def keep_changes(self: Any, job: Any) -> None:
        if job.statistics.get("query", {}).get("statementType") != "SELECT":
            write_job(self, job)

    snapshots.capture = keep_nothing
    repository._write_job = keep_changes  # noqa: SLF001 - likewise


if __name__ == "__main__":
    _remember_trees(Dialect)
    _remember_translations(SQLTranslator)
    _keep_less(SnapshotManager, DuckDBCatalogRepository)
    main(prog_name="bqemulator")
