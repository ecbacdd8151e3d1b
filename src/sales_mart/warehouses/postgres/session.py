"""What a session with PostgreSQL begins with, whichever driver opens it.

Free of drivers, since dbt's process has one of its own. No name that is not written with its schema
is looked up where others may create things: an operator or a function of theirs that fits its
arguments better than the system's would run with our rights.
"""

from __future__ import annotations

from typing import LiteralString

__all__ = ["BEGIN_SESSION", "BEGIN_TRANSACTION", "LOCK_TABLE", "SERVER_SECONDS"]

# A statement, since connection poolers refuse options of the start-up packet.
BEGIN_SESSION: LiteralString = (
    "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)"
)
# Once more for each transaction: a pooler may give each one another session of the server.
BEGIN_TRANSACTION: LiteralString = "set local search_path = pg_catalog, pg_temp"
LOCK_TABLE = "target_lock"
"""Table without columns that is locked while a schema is written to.

An advisory lock could be held by every role of the database; this one only by its owner, and by
whom the owner grants more than reading.
"""
SERVER_SECONDS = 5.0
"""What the server's word about its own timeout may take to reach us."""
