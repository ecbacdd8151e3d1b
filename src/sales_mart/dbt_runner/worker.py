"""The process that dbt runs in: `python -m sales_mart.dbt_runner.worker`, one per target.

dbt takes seconds to import and to parse its project, and is not safe twice in one process. So each
target has a process that gets ready while earlier steps still work, then waits for one command on
standard input. When that closes, the parent is gone, and so is this process.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sales_mart.dbt_runner import adapters, kept_manifest
from sales_mart.warehouses.base import warehouse_class
from sales_mart.warehouses.postgres.session import LOCK_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.dbt_runner.failure import Failure

__all__ = ["alone_in"]

_GRACE_SECONDS = 10.0
_SETTINGS = "SALES_MART_DATA_WAREHOUSE__POSTGRES__"
_OF_A_CONNECTION = ("host", "port", "dbname", "sslmode", "connect_timeout", "application_name")


def main() -> int:
    """Get ready as the first argument says, then run the one command that standard input gives."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    failures: list[Failure] = []
    manifest = _manifest(order, failures)
    with open(order["ready"], "w", encoding="utf-8") as ready:  # noqa: PTH123 - a pipe of the parent
        json.dump(_models(manifest), ready)
    command = orders.get()
    outcome: dict[str, Any] = {"built": {}}
    begun = time.monotonic()
    from dbt.cli.main import dbtRunner

    alone = warehouse_class(order["target"]).keep_others_out(command["schema"])
    try:
        with alone as built:
            # Without a manifest it parses the project again, and says what is wrong.
            done = dbtRunner(manifest=manifest).invoke(command["arguments"])
            outcome["built"] = built()
        if done.exception is not None:
            raise done.exception
    except Exception as error:  # noqa: BLE001 - the parent tells what it means
        failures.append(adapters.failure_of(error))
    outcome["seconds"] = round(time.monotonic() - begun, 3)
    outcome["failures"] = [failure._asdict() for failure in failures]
    Path(command["outcome"]).write_text(json.dumps(outcome), encoding="utf-8")
    return 0


def _manifest(order: dict[str, Any], failures: list[Failure]) -> Any:
    """Return the parsed project; None when it does not parse."""
    from dbt.cli.main import dbtRunner

    adapters.record_failures(failures)
    warehouse = warehouse_class(order["target"])
    warehouse.prepare_dbt()
    name = kept_manifest.digest_of(Path(order["project"]), warehouse.packages, order["told"])
    manifest = kept_manifest.read(name)
    if manifest is None:
        parsed = dbtRunner().invoke(order["parse"])
        if parsed.success:
            manifest = parsed.result
            kept_manifest.keep(name, manifest)
    return manifest


def _models(manifest: Any) -> dict[str, Any]:
    """Return what `manifest.json` says of the models."""
    nodes: dict[str, Any] = {} if manifest is None else manifest.nodes
    models = {key: node for key, node in nodes.items() if node.resource_type == "model"}
    return {"nodes": {key: node.to_dict() for key, node in models.items()}}


@contextmanager
def alone_in(schema: str | None) -> Generator[Callable[[], dict[str, str]]]:
    """Keep every other dbt out of a schema of PostgreSQL, as long as this process lives.

    Two that build the same tables would take them from one another; one of them may be what is left
    of a run that was killed. The lock is of a transaction, which connection poolers understand, and
    on a table that the parent has seen to be ours.

    Returns:
        What tells the tables in the schema apart from all that had their names before.
    """
    if schema is None:  # nothing is built
        yield dict
        return
    import psycopg2
    from psycopg2 import sql

    settings: Any = {key: os.environ[f"{_SETTINGS}{key.upper()}"] for key in _OF_A_CONNECTION}
    connection: Any = None
    try:
        connection = psycopg2.connect(
            **settings,
            user=os.environ["POSTGRES_USER"],
            password=os.environ["POSTGRES_PASSWORD"] or None,
            keepalives_idle=30,
        )
        adapters.begin_session(connection)
        cursor = connection.cursor()
        with adapters.cut_when_silent(connection):
            cursor.execute(
                "select set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', '0', true)",
                (f"{os.environ[f'{_SETTINGS}LOCK_TIMEOUT']}s",),
            )
            cursor.execute(
                sql.SQL("lock table {} in exclusive mode").format(
                    sql.Identifier(schema, LOCK_TABLE)
                )
            )

        def built() -> dict[str, str]:
            with adapters.cut_when_silent(connection):
                cursor.execute(
                    "select relname, oid::text from pg_class where relkind = 'r'"
                    " and relnamespace = (select oid from pg_namespace where nspname = %s)",
                    (schema,),
                )
                return dict(cursor.fetchall())

        yield built
    except psycopg2.Error as error:  # a connection that is lost already is an InterfaceError
        raise adapters.postgres_error(error) from None
    finally:
        if connection is not None:
            connection.close()


def _listen(orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Take the one command; end when the parent is gone.

    Before the command, at once: nothing was touched. After it, what runs is cancelled, as Ctrl-C
    would, and the process ends in any case.
    """
    line = b""
    # Not by `sys.stdin`: a thread that waits in it breaks the end of the interpreter.
    while not line.endswith(b"\n"):
        got = os.read(0, 65_536)
        if not got:
            os._exit(0)
        line += got
    orders.put(json.loads(line))
    while os.read(0, 1):
        pass
    threading.Timer(_GRACE_SECONDS, os._exit, (143,)).start()
    import _thread

    _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main())
