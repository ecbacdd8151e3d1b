"""Real servers for the tests: one of each kind per session."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sales_mart.dbt_runner import forks
from sales_mart.dbt_runner.forks import shared_server
from sales_mart.servers.local import LocalServers, local_servers
from stores import STORES, Store
from support import SERVERS_OF_ANOTHER, WARM_DBT, open_folder, without_fsync
from warehouses import Schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.config import Config

LONGEST = (
    *("test_publish.py", "test_roles.py", "test_outages_marts.py", "test_commands.py"),
    *("test_run.py", "test_histories.py", "test_dbt_project.py", "test_transform.py"),
    *("test_own_columns.py", "test_own_models.py", "test_kept_manifest.py", "test_resolution.py"),
)
LONG = ("conformance", "integration", "chart", "docs")


def pytest_configure() -> None:
    """Keep parsed dbt projects for this run of the tests; all of its processes share them."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sales-mart-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        forward = Path(__file__).with_name("warm") / "forward.py"
        os.environ[WARM_DBT] = os.pathsep.join((str(forward), folder, str(os.getpid())))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process works on one alone at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}

    def order(item: pytest.Item) -> tuple[int, bool]:
        return place.get(item.path.name, len(place)), item.path.parent.name not in LONG

    items.sort(key=order)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what asks the package index where there is none."""
    if item.get_closest_marker("index") and not has_index():
        pytest.skip("there is no package index")


@cache
def has_index() -> bool:
    """Return whether the package index can be asked."""
    uv = f"{sys.prefix}/bin/uv"
    done = subprocess.run(
        [uv, "pip", "compile", "--no-cache", "--quiet", "-"],
        check=False,
        capture_output=True,
        text=True,
        input="pip\n",
        env={**os.environ, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"},
    )
    return done.returncode == 0


class Place(NamedTuple):
    """A fresh bucket.

    Attributes:
        uri: Its address.
        store: What kind of store it is in.
        url: The address of the store's server.
    """

    uri: str
    store: Store
    url: str


@pytest.fixture(scope="session", autouse=True)
def _dbt_server() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    """Import dbt, and parse what is the same in every project, once for all tests."""
    if SERVERS_OF_ANOTHER not in os.environ:  # with a warehouse that only those tests know
        forks.PROGRAM = tuple(os.environ[WARM_DBT].split(os.pathsep))
    with shared_server():
        yield


@pytest.fixture(scope="session")
def gcs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which both the GCS and the BigQuery server look for buckets."""
    return tmp_path_factory.mktemp("gcs")


@pytest.fixture(scope="session")
def servers(gcs_root: Path) -> Generator[LocalServers]:
    """Run PostgreSQL and BigQuery for the whole session, or use those of one that waits for it."""
    if given := os.environ.get(SERVERS_OF_ANOTHER):
        values: dict[str, Any] = json.loads(given)
        values["folder"] = Path(values["folder"])
        yield LocalServers(**values)
        return
    with (
        open_folder() as folder,
        local_servers(folder, gcs_root=gcs_root) as running,
        without_fsync(running),
    ):
        yield running


@pytest.fixture(scope="session")
def postgres_server(servers: LocalServers) -> str:
    """Return the address of the PostgreSQL server, as `psycopg.connect` takes it."""
    url = servers.postgres_url
    assert url is not None
    return url


@pytest.fixture(scope="session")
def bigquery_server(servers: LocalServers) -> str:
    """Return the address of the BigQuery API."""
    endpoint = servers.bigquery_endpoint
    assert endpoint is not None
    return endpoint


@pytest.fixture(scope="session")
def schemas(servers: LocalServers) -> Schemas:
    """Return the names of schemas and datasets that tests use one after the other."""
    return Schemas(servers, "guest" if SERVERS_OF_ANOTHER in os.environ else "lent")


@pytest.fixture
def config(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> Generator[Config]:
    """Give a configuration with schemas, datasets and files of its own."""
    for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "SALES_MART_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    with schemas.config() as lent:
        yield lent


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a folder for the runs of one test."""
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def store_server(
    gcs_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[[str], str]]:
    """Give a function that runs a store's server for the whole session, and says its address."""
    with ExitStack() as stack:

        @cache
        def server(scheme: str) -> str:
            folder = gcs_root if scheme == "gs" else tmp_path_factory.mktemp(scheme)
            log = tmp_path_factory.mktemp(f"{scheme}-log") / "log"
            return stack.enter_context(STORES[scheme].server(folder, log))

        yield server


@pytest.fixture
def new_place(
    store_server: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Place]:
    """Give a function that makes a bucket; the clients find the server on their own."""

    def make(scheme: str) -> Place:
        store, url = STORES[scheme], store_server(scheme)
        for key, value in store.environment(url).items():
            monkeypatch.setenv(key, value)
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        store.make(url, name)
        return Place(f"{scheme}://{name}", store, url)

    return make


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], Place]) -> Place:
    """Return a fresh bucket of each store in turn."""
    return new_place(request.param)


@pytest.fixture
def bucket(place: Place) -> str:
    """Return the address of a fresh bucket of each store in turn."""
    return place.uri


@pytest.fixture
def gcs(new_place: Callable[[str], Place]) -> str:
    """Return the gs:// address of a fresh bucket."""
    return new_place("gs").uri
