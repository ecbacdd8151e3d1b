"""PostgreSQL that fails: the exit code, the remedy, nothing half-done, and a second attempt."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from attempts import NEW, OLD, attempt, configured, runs_in_raw
from faulty import Wire, closed_port, wire
from sales_mart.errors import TemporaryError
from sales_mart.lake.records import Load, Mode, Transform
from sales_mart.names import raw_schema
from sales_mart.servers.local import LocalServers, local_servers
from sales_mart.steps import doctor
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from sales_mart.warehouses.postgres import connection as postgres
from sales_mart.warehouses.postgres.load import load
from support import mount_or_skip, open_folder, sealed_run
from targets import Target
from warehouses import POSTGRES, ask, fresh_config, loaded, mart_schema, table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from faulty import Cut
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

P = Target.POSTGRES
SECRET = "s3cret-of-the-outage"
EXISTING: dict[str, tuple[int, int]] = {"old": (3, 3)}
WANTED = {"new": (400, 400)}


class Restartable:
    """A server of its own behind a proxy, so that a restart keeps the address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.servers = self._start()

    def _start(self) -> LocalServers:
        return self._stack.enter_context(local_servers(self._folder, bigquery=False))

    def stop(self) -> None:
        self._stack.close()

    def restart(self) -> None:
        self.stop()
        self.servers = self._start()

    @property
    def port(self) -> int:
        port = self.servers.postgres_port
        assert port is not None
        return port


@pytest.fixture(scope="module")
def server() -> Generator[Restartable]:
    with open_folder() as folder:
        running = Restartable(folder)
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture
def line(server: Restartable) -> Generator[Wire]:
    with wire(server.port) as proxy:
        yield proxy


@pytest.fixture
def through(server: Restartable, line: Wire, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return a configuration of its own whose connections pass the proxy, and are not patient."""
    monkeypatch.setattr(postgres, "SERVER_SECONDS", 0.2)
    for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "SALES_MART_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    settings = {"port": line.port, "connect_timeout": 2, "statement_timeout": 1, "lock_timeout": 1}
    return configured(fresh_config(server.servers), P, **settings)


def as_role(config: Config, options: LiteralString) -> Config:
    """Make a role of its own, and give the configuration that connects as it."""
    name = f"role_{raw_schema(config)}"
    change(config, "create role {} login superuser password {}", name, "right")
    change(config, f"alter role {{}} {options}", name)
    return configured(config, P, user=name, password=SecretStr("right"))


def change(config: Config, statement: LiteralString, name: str, *values: str) -> None:
    with postgres.connect(config) as connection:
        connection.autocommit = True
        connection.execute(SQL(statement).format(Identifier(name), *map(Literal, values)))


# --- connections that break


@pytest.mark.parametrize("cut", ["drop", "lose answer", "mute"])
@pytest.mark.parametrize(
    ("mark", "skip"),
    [(b"lock table", 0), (b"PGCOPY", 0), (b"COMMIT", 1)],
)
def test_a_load_whose_connection_breaks(  # noqa: PLR0913 - fixtures and parameters
    through: Config, line: Wire, lake: Path, cut: Cut, mark: bytes, skip: int
) -> None:
    load(through, sealed_run(through, lake, "old", OLD))
    run = sealed_run(through, lake, "new", NEW)
    line.fault(mark, cut, skip=skip)
    ended = attempt(lambda: load(through, run))
    assert line.struck == 1
    assert ended.code == 75
    assert ended.seconds < 10
    line.heal()
    done = cut == "lose answer" and mark == b"COMMIT"
    assert runs_in_raw(through, P) == (WANTED if done else EXISTING)
    assert run.find("load-postgres", Load) is None
    again = load(through, run)
    assert (again.sequence, again.rows, again.already_loaded) == (2, 400, done)
    assert runs_in_raw(through, P) == WANTED


@pytest.mark.parametrize(
    ("mark", "skip", "cut", "left"),
    [
        (b"create table", 1, "drop", 0),
        (b"PGCOPY", 0, "drop", 0),
        (b"PGCOPY", 1, "mute", 0),
        # The sessions of load and streams have each committed what they begin with.
        (b"COMMIT", 3, "lose answer", None),
        (b"COMMIT", 4, "drop", None),
        (b" inherit ", 0, "drop", 2),
        (b"COMMIT", 5, "drop", 2),
    ],
)
def test_a_load_of_which_one_stream_breaks(  # noqa: PLR0913 - fixtures and parameters
    through: Config, line: Wire, lake: Path, mark: bytes, skip: int, cut: Cut, left: int | None
) -> None:
    config = configured(through, P, load_streams=2)
    load(config, sealed_run(config, lake, "old", OLD))
    run = sealed_run(config, lake, "new", NEW)
    line.fault(mark, cut, skip=skip)
    ended = attempt(lambda: load(config, run))
    assert (line.struck, ended.code) == (1, 75)
    assert ended.seconds < 10
    line.heal()
    assert runs_in_raw(config, P) == EXISTING
    # What streams had committed belongs to nobody, and is gone with the next load.
    assert left in (None, tables_of_streams(config) - 2)
    again = load(config, run)
    assert (again.sequence, again.rows, again.already_loaded) == (2, 400, False)
    assert runs_in_raw(config, P) == WANTED
    assert tables_of_streams(config) == 2


def test_a_load_that_is_interrupted_waits_for_no_stream(
    through: Config, line: Wire, lake: Path
) -> None:
    config = configured(through, P, load_streams=2, statement_timeout=60)
    load(config, sealed_run(config, lake, "old", OLD))
    interrupted = threading.main_thread().ident
    assert interrupted is not None
    line.on_strike = lambda: signal.pthread_kill(interrupted, signal.SIGINT)
    line.fault(b"PGCOPY", "mute")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        load(config, sealed_run(config, lake, "new", NEW))
    assert time.monotonic() - started < 10
    assert line.struck == 1
    line.heal()
    assert runs_in_raw(config, P) == EXISTING


def tables_of_streams(config: Config) -> int:
    sql = f"""
        select count(*) from pg_class
        where relname like 'sales^_mart^_load%' escape '^'
        and relnamespace = to_regnamespace('{raw_schema(config)}')
    """
    return ask(config, P, sql)[0][0]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("cut", ["drop", "mute"])
def test_a_load_whose_connection_breaks_when_rows_have_arrived(
    through: Config, line: Wire, lake: Path, cut: Cut, mode: Mode
) -> None:
    patient = configured(through, P, statement_timeout=5)
    load(patient, sealed_run(patient, lake, "old", OLD, mode=mode))
    many = [each._replace(transaction_id=f"N{n}") for n, each in enumerate(NEW * 125)]
    run = sealed_run(patient, lake, "new", many, business_date="2023-10-02", mode=mode)
    arrived: list[int] = []
    line.on_strike = lambda: arrived.append(rows_arrived(through, line))
    line.fault(b"PGCOPY", cut, after_bytes=4_000_000)
    ended = attempt(lambda: load(patient, run))
    assert line.struck == 1
    assert ended.code == 75
    assert 0 < arrived[0] < len(many)
    line.heal()
    assert runs_in_raw(through, P) == EXISTING
    assert load(configured(patient, P, statement_timeout=60), run).rows == len(many)
    kept = EXISTING if mode is Mode.APPEND else {}
    assert runs_in_raw(through, P) == {**kept, "new": (len(many), len(many))}


def rows_arrived(config: Config, line: Wire) -> int:
    """Return the rows that the server has taken from the COPY under way, once there are some."""
    straight = configured(config, P, port=line.upstream, statement_timeout=30)
    sql = "select coalesce(sum(tuples_processed), 0)::bigint from pg_stat_progress_copy"
    deadline = time.monotonic() + 20
    while not (rows := ask(straight, P, sql)[0][0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return rows


# --- connections that do not come about


@contextmanager
def refused(config: Config, _: Wire) -> Generator[Config]:
    yield configured(config, P, port=closed_port())


@contextmanager
def accepted_and_left_alone(config: Config, line: Wire) -> Generator[Config]:
    line.fault(b"", "mute", times=9)
    yield config


@contextmanager
def silent_after_the_handshake(config: Config, line: Wire) -> Generator[Config]:
    line.fault(b"set_config", "mute", times=9)
    yield config


@contextmanager
def silent_in_a_statement(config: Config, line: Wire) -> Generator[Config]:
    line.fault(b"create schema", "mute", times=9)
    yield config


@contextmanager
def role_has_no_connection_left(config: Config, _: Wire) -> Generator[Config]:
    name = f"role_{raw_schema(config)}"
    change(config, "create role {} login password {} connection limit 0", name, "right")
    yield configured(config, P, user=name, password=SecretStr("right"))


@contextmanager
def server_has_no_connection_left(config: Config, _: Wire) -> Generator[Config]:
    name = f"role_{raw_schema(config)}"
    change(config, "create role {} login password {}", name, "right")
    plain = configured(config, P, user=name, password=SecretStr("right"))
    with ExitStack() as stack:
        for _number in range(100):
            try:
                stack.enter_context(postgres.connect(plain))
            except TemporaryError:
                break
        yield plain


@contextmanager
def wrong_password(config: Config, _: Wire) -> Generator[Config]:
    role = as_role(config, "connection limit 9")
    yield configured(role, P, password=SecretStr(SECRET))


@contextmanager
def no_such_database(config: Config, _: Wire) -> Generator[Config]:
    yield configured(config, P, dbname="nowhere")


@contextmanager
def read_only(config: Config, _: Wire) -> Generator[Config]:
    yield as_role(config, "set default_transaction_read_only = on")


@pytest.mark.parametrize(
    ("outage", "code", "said"),
    [
        (refused, 75, "does not answer"),
        (accepted_and_left_alone, 75, "does not answer"),
        (silent_after_the_handshake, 75, "it has said nothing for 2 seconds"),
        (silent_in_a_statement, 75, "it has said nothing"),
        (role_has_no_connection_left, 75, "too many connections"),
        (server_has_no_connection_left, 75, "takes no connection now"),
        (wrong_password, 2, "password authentication failed"),
        (no_such_database, 2, "does not exist"),
        (read_only, 2, "Name the primary server"),
    ],
)
def test_a_server_that_takes_no_load(  # noqa: PLR0913 - fixtures and parameters
    through: Config,
    line: Wire,
    lake: Path,
    outage: Callable[[Config, Wire], AbstractContextManager[Config]],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 2)
    run = sealed_run(through, lake, "new", NEW)
    with outage(through, line) as broken:
        ended = attempt(lambda: load(broken, run))
        report = attempt(lambda: doctor.examine_warehouses(broken, POSTGRES))
    line.heal()
    assert (ended.code, report.result.exit_code) == (code, code)
    assert max(ended.seconds, report.seconds) < 15
    assert said in ended.said
    assert said in report.result.model_dump_json()
    assert SECRET not in ended.said + report.result.model_dump_json()
    assert load(through, run).rows == 400
    assert runs_in_raw(through, P) == WANTED


# --- a server without room


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """Yield a file system of 4 MB that the server may write to."""
    place = Path(tempfile.mkdtemp(prefix="sales-mart-small-"))
    mount_or_skip("-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", str(place))
    place.chmod(0o777)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)
        place.rmdir()
    assert tmp_path.exists()


def test_a_full_disk_undoes_the_load(through: Config, lake: Path, small_disk: Path) -> None:
    space = f"small_{raw_schema(through)}"
    inside = small_disk / "space"
    inside.mkdir(mode=0o777)
    inside.chmod(0o777)
    _give_to_server(inside)
    change(through, "create tablespace {} location {}", space, str(inside))
    limited = as_role(through, "connection limit 9")
    user = limited.data_warehouse.postgres.user
    assert user is not None
    load(through, sealed_run(through, lake, "old", OLD))
    table = through.data_warehouse.table
    with postgres.connect(through) as connection:
        connection.execute(
            SQL("alter table {} set tablespace {}").format(
                Identifier(raw_schema(through), table), Identifier(space)
            )
        )
        connection.commit()
    many = [each._replace(transaction_id=f"N{n}") for n, each in enumerate(NEW * 100)]
    run = sealed_run(through, lake, "new", many)
    ended = attempt(lambda: load(limited, run))
    assert ended.code == 75
    assert "53100" in ended.said
    assert runs_in_raw(through, P) == EXISTING
    with postgres.connect(through) as connection:
        connection.execute(
            SQL("alter table {} set tablespace pg_default").format(
                Identifier(raw_schema(through), table)
            )
        )
        connection.commit()
    change(through, "drop tablespace {}", space)
    assert load(limited, run).rows == len(many)


def _give_to_server(folder: Path) -> None:
    import os
    import shutil

    if os.geteuid() == 0:
        from sales_mart.servers.local import _server_user  # pyright: ignore[reportPrivateUsage]

        user = _server_user()
        assert user is not None
        shutil.chown(folder, user)


# --- a server whose administrator has set limits


def test_a_load_that_meets_a_limit_of_the_server(through: Config, lake: Path) -> None:
    patient = configured(through, P, statement_timeout=30)
    limited = as_role(patient, "set maintenance_work_mem = '64kB'")
    user = limited.data_warehouse.postgres.user
    assert user is not None
    change(patient, "alter role {} set temp_file_limit = '64kB'", user)
    many = [each._replace(transaction_id=f"M{n}") for n, each in enumerate(NEW * 50)]
    load(limited, sealed_run(limited, lake, "old", many))
    # The first append makes the indexes, and sorts the whole table for them.
    run = sealed_run(limited, lake, "new", NEW, business_date="2023-10-02", mode=Mode.APPEND)
    ended = attempt(lambda: load(limited, run))
    assert ended.code == 2
    assert 'exceeds "temp_file_limit"' in ended.said
    assert "Raise the limit" in ended.said
    assert runs_in_raw(through, P) == {"old": (len(many), len(many))}
    change(patient, "alter role {} reset temp_file_limit", user)
    assert load(limited, run).rows == len(NEW)


# --- a server that goes away while the marts are built


def test_the_marts_after_a_restart_in_the_middle(
    through: Config, server: Restartable, line: Wire, lake: Path
) -> None:
    patient = configured(through, P, statement_timeout=12)
    to_the_end(patient, loaded(patient, sealed_run(patient, lake, "old", OLD), POSTGRES))
    before = shown(patient)
    assert before["sales_by_date"] == [(date(2023, 10, 1), Decimal("60.00"))]
    run = loaded(patient, sealed_run(patient, lake, "new", NEW), POSTGRES)

    def stop() -> None:
        line.on_strike = lambda: None
        threading.Thread(target=server.stop).start()

    line.on_strike = stop
    line.fault(b"sales_by_date", "mute", skip=3)
    ended = attempt(lambda: transform(patient, run, POSTGRES))
    assert line.struck == 1
    assert ended.code == 75
    assert ended.seconds < 120
    server.restart()
    line.heal()
    line.upstream = server.port
    assert shown(patient) == before
    assert run.find("transform", Transform) is None
    assert runs_in_raw(patient, P) == WANTED
    to_the_end(patient, run)
    after = shown(patient)
    assert after["sales_by_date"] == [(date(2023, 10, 1), Decimal("8000.00"))]
    assert len(after["pg_sales"]) == 400


@pytest.mark.parametrize(
    ("mark", "skip", "code"),
    [(b"sales_by_date", 3, 75), (b"relkind = 'r'", 0, 75), (b"ROLLBACK", 2, 0)],
    ids=["model", "names", "rollback"],
)
def test_marts_while_the_server_says_nothing_more(  # noqa: PLR0913 - fixtures and parameters
    through: Config, line: Wire, lake: Path, mark: bytes, skip: int, code: int
) -> None:
    patient = configured(through, P, statement_timeout=5)
    run = sealed_run(patient, lake, "new", NEW)
    load(patient, run)
    line.fault(mark, "mute", skip=skip)
    too_late = threading.Timer(60, line.heal)
    too_late.start()
    ended = attempt(lambda: transform(patient, run, POSTGRES))
    too_late.cancel()
    assert line.struck == 1
    assert ended.code == code
    assert ended.seconds < 55
    line.heal()
    assert (run.find("transform", Transform) is None) == bool(code)
    assert transform(patient, run, POSTGRES).targets


def to_the_end(config: Config, run: RunFolder) -> None:
    """Take a loaded run to its readers."""
    transform(config, run, POSTGRES)
    reconcile(config, run, POSTGRES)
    publish(config, run, POSTGRES)


def shown(config: Config) -> dict[str, list[tuple[object, ...]]]:
    """Return the marts that a reader finds: days or products and their amounts."""
    marts = {
        "pg_sales": "transaction_id, amount",
        "sales_by_date": "sale_date, total_amount",
        "sales_by_product": "product, total_amount",
        "summary_sales": "product, total_amount",
    }
    schema = mart_schema(config, P)
    return {
        name: ask(config, P, f"select {columns} from {table(config, P, schema, name)} order by 1")
        for name, columns in marts.items()
    }


# --- what stays on the server


def dropped(config: Config, line: Wire) -> AbstractContextManager[Config]:
    line.fault(b"PGCOPY", "drop")
    return nullcontext(config)


@contextmanager
def locked_out(config: Config, _: Wire) -> Generator[Config]:
    with postgres.connect(configured(config, P, application_name="the other")) as connection:
        postgres.lock_target(connection, config)
        yield config


def undisturbed(config: Config, _: Wire) -> AbstractContextManager[Config]:
    return nullcontext(config)


@pytest.mark.parametrize(
    ("outage", "code"), [(dropped, 75), (locked_out, 75), (read_only, 2), (undisturbed, 0)]
)
def test_the_server_keeps_no_session_of_a_load_that_has_ended(  # noqa: PLR0913 - fixtures
    through: Config,
    line: Wire,
    lake: Path,
    server: Restartable,
    outage: Callable[[Config, Wire], AbstractContextManager[Config]],
    code: int,
) -> None:
    named = configured(through, P, application_name=f"load_{raw_schema(through)}"[:60])
    run = sealed_run(named, lake, "new", NEW)
    with outage(named, line) as broken:
        ended = attempt(lambda: load(broken, run))
        url = server.servers.postgres_url
        assert url is not None
        # An idle session counts too. The server takes a moment to end one that has gone.
        with psycopg.connect(url, autocommit=True) as connection:
            deadline = time.monotonic() + 10
            while (left := sessions(connection, named)) and time.monotonic() < deadline:
                time.sleep(0.05)
    assert ended.code == code
    assert left == []


def sessions(connection: psycopg.Connection[tuple[str, str]], config: Config) -> list[object]:
    name = config.data_warehouse.postgres.application_name
    sql = "select state, query from pg_stat_activity where application_name = %s"
    return [*connection.execute(sql, (name,))]
