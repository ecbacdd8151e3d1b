"""The processes that dbt runs in: `python -m sales_mart.dbt_runner.worker`.

dbt takes seconds to import, and is not safe twice in one process. So one process imports it, while
earlier steps still work, and forks a worker for each target. A worker gets ready and waits for one
command on standard input. When that closes, the parent is gone, and so is the worker.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import platform
import queue
import select
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.dbt_runner import adapters, kept_manifest
from sales_mart.warehouses.base import warehouse_class
from sales_mart.warehouses.postgres.session import LOCK_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.dbt_runner.failure import Failure

__all__ = ["alone_in", "run"]

_NOT_FORKED = -1
_GRACE_SECONDS = 10.0
_MOST_DESCRIPTORS = 16
_FEW_WORKERS = 2
_SETTINGS = "SALES_MART_DATA_WAREHOUSE__POSTGRES__"
_OF_A_CONNECTION = ("host", "port", "dbname", "sslmode", "connect_timeout", "application_name")


class Descriptors(NamedTuple):
    """File descriptors that come with the message for a worker, in this order.

    Those that follow are kept open, and nothing else is done with them.

    Attributes:
        input: Gives the command.
        output: Takes what the worker prints.
        status: Takes the number of the process, then its exit code, a line each.
        ready: Takes the models of the project, when it is parsed.
    """

    input: int
    output: int
    status: int
    ready: int


def main() -> int:
    """Fork a worker for every message on the socket that the first argument names.

    A message is its length in eight digits, with the descriptors, and a JSON object. When the
    second argument is `alone`, this process is the worker itself.
    """
    connection = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module("dbt.cli.main")  # for all workers
    _make_schemas()
    # Started by a worker, it would be given the worker's password in its environment.
    resource_tracker.ensure_running()
    tuple(platform.uname())  # likewise: dbt asks for it, and Python starts `uname` for an answer
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, _do_nothing)  # `woken` is told
    statuses: dict[int, int] = {}
    workers, has_codecs = count(1), False
    while True:
        if woken in select.select([connection, woken], [], [])[0]:
            woken.recv(4096)
            _tell_ends(statuses)
            continue
        size, passed, _, _ = socket.recv_fds(connection, 8, _MOST_DESCRIPTORS)
        if not size:
            return 0
        message: dict[str, Any] = json.loads(_received(connection, int(size)))
        # It takes as long as a worker saves by it.
        makes_codecs = next(workers) > _FEW_WORKERS and not has_codecs
        has_codecs = _prepare(message["order"], makes_codecs=makes_codecs) or has_codecs
        gc.freeze()
        pid = 0 if sys.argv[2] == "alone" else _forked()
        status = passed[2]
        if pid == 0:
            if sys.argv[2] == "alone":
                os.write(status, f"{os.getpid()}\n".encode())
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (connection, woken, wake):
                each.close()
            for descriptor in statuses.values():
                os.close(descriptor)
            return _worker(message, Descriptors(*passed[:4]))
        _tell_start(status, pid)
        if pid != _NOT_FORKED:
            statuses[pid] = passed.pop(2)
        for descriptor in passed:
            os.close(descriptor)


def _make_schemas() -> None:
    """Make what every command of dbt makes first, so that each worker has it."""
    importlib.import_module("dbt.task.build")
    with suppress(ImportError):  # in a version of dbt that has other ones
        from dbt.contracts.project import Configuration, PackageConfig, Project, ProjectFlags

        for each in (Project, Configuration, ProjectFlags, PackageConfig):
            each.json_schema()


def _prepare(order: dict[str, Any], *, makes_codecs: bool) -> bool:
    """Import the adapter, and make what reads and writes manifests: that takes reading one.

    What this does is done for every later worker too. One that fails says so by itself.

    Returns:
        Whether there was a manifest to read.
    """
    with suppress(Exception):
        warehouse_class(order["target"]).prepare_dbt()
    with suppress(Exception):
        if not makes_codecs:
            return False
        adapter = importlib.import_module(f"dbt.adapters.{order['target']}")
        adapter.Plugin.credentials.json_schema()
        name = kept_manifest.digest_of(Path(order["project"]), order["told"])
        manifest = None if name is None else kept_manifest.read(name)
        if manifest is not None:
            manifest.writable_manifest().to_dict()
            return True
    return False


def _received(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes; a signal may come after some of them."""
    data = bytearray()
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return bytes(data)


def _forked() -> int:
    try:
        return os.fork()
    except OSError:  # too many processes, or no memory
        return _NOT_FORKED


def _do_nothing(*_: object) -> None: ...


def _tell_start(status: int, pid: int) -> None:
    """Tell the number of a worker, or that there is none; nobody may want it any more."""
    ended = f"{-signal.SIGKILL}\n" if pid == _NOT_FORKED else ""
    with suppress(BrokenPipeError):
        os.write(status, f"{pid}\n{ended}".encode())


def _tell_ends(statuses: dict[int, int]) -> None:
    """Tell the exit codes of the workers that have ended."""
    for pid, status in [*statuses.items()]:
        ended, code = os.waitpid(pid, os.WNOHANG)
        if ended:
            with suppress(BrokenPipeError):
                os.write(status, f"{os.waitstatus_to_exitcode(code)}\n".encode())
            os.close(statuses.pop(pid))


def _worker(message: dict[str, Any], given: Descriptors) -> int:
    """Run an order where and with what a message says."""
    for descriptor, number in ((given.input, 0), (given.output, 1), (given.output, 2)):
        os.dup2(descriptor, number)
    for descriptor in {given.input, given.output}:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(message["environment"])
    try:
        os.chdir(message["folder"])
    except FileNotFoundError:
        return 0  # the parent has no use for it any more
    code = run(message["order"], given.ready)
    # What started it may be gone.
    os.write(given.status, f"{code}\n".encode())
    return code


def run(order: dict[str, Any], ready: int) -> int:
    """Get ready as the order says, then run the one command that standard input gives."""
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    failures: list[Failure] = []
    manifest = _manifest(order, failures)
    models = json.dumps(_models(manifest), default=str)  # YAML has dates
    with os.fdopen(ready, "w", encoding="utf-8") as told:
        told.write(models)
    command = orders.get()
    outcome: dict[str, Any] = {"built": {}}
    begun = time.monotonic()
    from dbt.cli.main import dbtRunner

    alone = warehouse_class(order["target"]).keep_others_out(command["schema"])
    try:
        with alone as built:
            # Without a manifest it parses the project again, and says what is wrong.
            told = _Told(Path(command["progress"]))
            done = dbtRunner(manifest=manifest, callbacks=[told]).invoke(command["arguments"])
            outcome["built"] = built()
        if done.exception is not None:
            raise done.exception
    except Exception as error:  # noqa: BLE001 - the parent tells what it means
        failures.append(adapters.failure_of(error))
    # The results are read beside it. Where dbt has not parsed, it writes one only when all is well.
    written = Path("target", "manifest.json")
    if written.with_name("run_results.json").exists() and not written.exists():
        manifest.write(str(written))
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
    name = kept_manifest.digest_of(Path(order["project"]), order["told"])
    manifest = None if name is None else kept_manifest.read(name)
    if manifest is None:
        parsed = dbtRunner().invoke(order["parse"])
        if parsed.success:
            manifest = parsed.result
            if name is not None:
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


class _Told:
    """Writes how far a command is, for the parent to look at when it likes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._done = 0

    def __call__(self, event: Any) -> None:
        """Take an event of dbt, from any of its threads."""
        if event.info.name not in ("LogStartLine", "NodeFinished"):
            return
        # Nobody may look, and a full disk is told by what needs the room.
        with self._lock, suppress(OSError):
            if event.info.name == "NodeFinished":
                self._done += 1
                return
            told = {
                "done": self._done,
                "total": event.data.total,
                "item": event.data.node_info.node_name,
            }
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(told), encoding="utf-8")
            new.replace(self._path)


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
