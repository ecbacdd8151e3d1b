"""One contestant's process: arguments as JSON on stdin, seconds and counts as JSON on stdout."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import warnings
from typing import Any


def main() -> None:
    """Import the contestant, call it, and tell how long the call took.

    The first argument names it, the second what has to be there before its time begins, where that
    is anything. It gives its counts, or what counts when the time has been taken.
    """
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    for name in sys.argv[3:]:
        importlib.import_module(name)
    call, prepare = map(_function, sys.argv[1:3])
    arguments: dict[str, Any] = json.load(sys.stdin)
    if prepare is not None:
        arguments["prepared"] = prepare(**arguments)
    log, cpu = _written(arguments), os.times()
    begun = time.perf_counter()
    counts = call(**arguments)
    seconds = time.perf_counter() - begun
    spent = sum(os.times()[:4]) - sum(cpu[:4])
    written = _written(arguments) - log
    if callable(counts):
        counts = counts()
    told = {"seconds": seconds, "cpu": spent, "log": written, "counts": counts}
    print(json.dumps(told))


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"benchmarks.{module}"), function) if name else None


def _written(arguments: dict[str, Any]) -> int:
    """Return how many bytes PostgreSQL has ever written to its log; 0 where there is none."""
    if "url" not in arguments:
        return 0
    import psycopg

    with psycopg.connect(arguments["url"]) as connection:
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
