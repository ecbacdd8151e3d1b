"""The local BigQuery server, without the work that it does in vain.

    python -m sales_mart.servers.bigquery start --rest-port=9050

It copies a table whole after every change of it, for time travel that nobody asks for here: a load
of n parts would copy n(n + 1)/2 of them, and keep the copies for a week. It parses each statement
more than ten times, which is most of its work, and a copy of the tree is had for a fifth of that.
Nor does it remember what a statement is to DuckDB, which depends on nothing but the statement, the
types of the columns and who asks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bqemulator.cli import main
from bqemulator.sql.translator import SQLTranslator
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot.dialects.dialect import Dialect

_MOST_PARSED, _MOST_TRANSLATED = 256, 1024


def _replace_parts() -> None:
    """Put what remembers in the place of what works again."""
    snapshots: Any = SnapshotManager
    dialect: Any = Dialect
    translator: Any = SQLTranslator
    parsed = lru_cache(_MOST_PARSED)(dialect.parse)
    translate = translator.translate
    translated: dict[tuple[str, str], Any] = {}

    def parse(self: Any, sql: str, **options: Any) -> list[Any]:
        return [tree and tree.copy() for tree in parsed(self, sql, **options)]

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

    def keep_nothing(*_: Any, **__: Any) -> None:
        """Copy no table."""

    snapshots.capture = keep_nothing
    dialect.parse = parse
    translator.translate = remember


if __name__ == "__main__":
    _replace_parts()
    main(prog_name="bqemulator")
