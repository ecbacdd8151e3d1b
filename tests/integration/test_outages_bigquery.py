"""A BigQuery API that fails: bounded waiting, the exit code, and no row lost or doubled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigquery import LoadJobConfig

from attempts import DAY, NEW, OLD, attempt, configured, runs_in_raw
from faulty import Fault, Http, http
from sales_mart.lake.records import Load, Part, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.steps import doctor, transform
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery import staging as bigquery_tables
from sales_mart.warehouses.bigquery.connection import Client, built_tables, client, query, table_id
from sales_mart.warehouses.bigquery.load import load
from sales_mart.warehouses.bigquery.staging import LoadTables
from support import sealed_run
from targets import Target
from warehouses import ask, fresh_config, next_schema, publish_marts, published_tables, table

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers

B = Target.BIGQUERY
EXISTING: dict[str, tuple[int, int]] = {"old": (3, 3)}
WANTED = {"new": (400, 400)}
CHANGE = "begin transaction"


@pytest.fixture
def config(config: Config, servers: LocalServers) -> Config:  # noqa: ARG001 - its environment
    """Return a configuration whose names no other test has: the server remembers all jobs."""
    return fresh_config(servers)


@pytest.fixture
def api(bigquery_server: str) -> Generator[Http]:
    with http(bigquery_server) as proxy:
        yield proxy


@pytest.fixture
def through(config: Config, api: Http) -> Config:
    return impatient(config, api)


def impatient(config: Config, api: Http) -> Config:
    """Return a configuration whose requests pass the proxy, and are not patient."""
    return configured(config, B, api_endpoint=api.url, request_timeout=2, job_timeout=5)


@pytest.fixture
def loaded(config: Config, lake: Path) -> None:
    """Leave the rows of an older run in the raw table."""
    load(config, sealed_run(config, lake, "old", OLD))


ONCE = [
    Fault(429, path="tables/raw", reason="rateLimitExceeded", times=1),
    Fault(503, path="/queries/", times=1),
    Fault("drop", path="tables/load_runs", times=1),
    Fault("lose answer", "POST", "/v2/projects/[^/]+/jobs", "count", times=1),
    Fault(503, "POST", "uploadType", times=1),
    Fault("truncate", "PUT", "uploadType", times=1),
    Fault("lose answer", "POST", "/jobs", CHANGE, times=1),
    Fault(500, "DELETE", "staging", reason="internalError", times=1),
    Fault("slow", path="/queries/", times=1),
]
"""Every kind of fault, each at another request of a load."""


@pytest.mark.usefixtures("loaded")
def test_what_fails_once_is_repeated_unnoticed(
    through: Config, config: Config, api: Http, lake: Path
) -> None:
    patient = configured(through, B, request_timeout=30, job_timeout=60)
    api.fault(*ONCE)
    assert load(patient, sealed_run(config, lake, "new", NEW)).sequence == 2
    assert api.struck == len(ONCE)
    assert runs_in_raw(config, B) == WANTED


class Outage(NamedTuple):
    """A fault that stays, how the command ends, and whether the server has done it all the same."""

    fault: Fault
    code: int
    said: str
    done: bool = False


LASTING = [
    Outage(Fault(429, reason="rateLimitExceeded"), 75, "TooManyRequests, rateLimitExceeded"),
    Outage(Fault(500, path="/queries/", reason="internalError"), 75, "internalError"),
    Outage(Fault(503, "POST", "/jobs", CHANGE), 75, "ServiceUnavailable, backendError"),
    Outage(Fault(403, "POST", "/jobs", reason="quotaExceeded"), 75, "quotaExceeded"),
    Outage(Fault(403, "POST", "/jobs", reason="accessDenied"), 2, "refused"),
    Outage(Fault(401, reason="authError"), 2, "refused"),
    Outage(Fault("drop"), 75, "does not answer"),
    Outage(Fault("truncate", path="/queries/"), 75, "does not answer"),
    Outage(Fault("mute", path="tables/raw"), 75, "does not answer"),
    Outage(Fault("lose answer", "POST", "/jobs", CHANGE), 75, "does not answer", done=True),
]


@pytest.fixture(scope="module")
def shared(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Give the tables that one outage after the other hits, with the rows of an older run."""
    config = fresh_config(servers)
    load(config, sealed_run(config, tmp_path_factory.mktemp("lake"), "old", OLD))
    return config


@pytest.mark.parametrize("outage", LASTING, ids=lambda each: f"{each.fault.then}-{each.said}")
def test_what_lasts_ends_the_command_in_bounded_time(
    shared: Config, api: Http, lake: Path, outage: Outage
) -> None:
    before, loads = runs_in_raw(shared, B), len(load_runs(shared))
    name = f"new-{loads}"
    wanted = {name: (400, 400)}
    run = sealed_run(shared, lake, name, NEW)
    api.fault(outage.fault)
    ended = attempt(lambda: load(impatient(shared, api), run))
    assert api.struck
    assert ended.code == outage.code
    assert ended.seconds < 30
    assert outage.said in ended.said
    assert run.find("load-bigquery", Load) is None
    api.heal()
    assert runs_in_raw(shared, B) == (wanted if outage.done else before)
    again = load(shared, run)
    assert (again.sequence, again.rows) == (loads + 1, 400)
    assert runs_in_raw(shared, B) == wanted


def load_runs(config: Config) -> list[tuple[str]]:
    name = table(config, B, raw_schema(config), LOAD_RUNS)
    return ask(config, B, f"select run_id from {name}")


def test_a_job_that_runs_longer_than_it_may(
    through: Config, config: Config, api: Http, lake: Path
) -> None:
    """The second attempt finds what the first one's job has done, and starts no other."""
    run = sealed_run(config, lake, "new", NEW)
    hasty = configured(through, B, request_timeout=30, job_timeout=1)
    api.fault(Fault("running", "POST", "/jobs", CHANGE), Fault("running", "GET", "-change-"))
    ended = attempt(lambda: load(hasty, run))
    assert ended.code == 75
    assert "a job took longer than 1 seconds" in ended.said
    assert run.find("load-bigquery", Load) is None
    api.heal()
    before = len(api.seen)
    again = load(configured(hasty, B, job_timeout=60), run)
    assert (again.rows, again.already_loaded) == (400, True)
    assert runs_in_raw(config, B) == WANTED
    assert not [each for each in api.seen[before:] if "upload" in each]
    assert len(changes(config, run)) == 1


# --- job ids that are taken


@pytest.fixture
def run(config: Config, lake: Path, gcs: str, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a sealed run of two parts in a bucket, each of which is a load job of its own."""
    monkeypatch.setattr(bigquery_tables, "MAX_URIS", 1)
    local = sealed_run(config, lake, "new", NEW)
    seal = local.read("seal", Seal)
    with local.sealed_part(seal.valid[0]) as sealed:
        whole = pq.read_table(sealed)
    there = RunFolder(f"{gcs}/lake", "new")
    parts: list[Part] = []
    for number, piece in enumerate((whole.slice(0, 150), whole.slice(150))):
        path = lake / f"piece{number}.parquet"
        pq.write_table(piece, path)
        parts.append(there.put_part(f"valid/00000-0000{number}", path, piece.num_rows))
    there.write("seal", seal.model_copy(update={"valid": tuple(parts)}))
    return there


@pytest.fixture
def prefix(through: Config, config: Config, api: Http, run: RunFolder) -> str:
    """Let a load break off when its staging table stands; give what its job ids start with."""
    api.fault(Fault("drop", "POST", "/jobs", "sourceUris"))
    assert attempt(lambda: load(through, run)).code == 75
    api.heal()
    api.unique_jobs = True
    with client(config) as connected:
        table = connected.get_table(staging_of(config, run))
    assert table.created is not None
    created = int(table.created.timestamp() * 1000)
    return f"{table.table_id.replace('staging', 'sales_mart')}-1-{created}"


def test_jobs_of_an_attempt_before_are_found_by_their_ids(
    through: Config, config: Config, api: Http, run: RunFolder, prefix: str
) -> None:
    """The job of part 0 still runs, and is done then; those of part 1 and the change failed."""
    uri = f"{run.uri}/{run.read('seal', Seal).valid[0].name}"
    options = LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    with client(config) as connected:
        connected.load_table_from_uri(
            [uri], staging_of(config, run), job_id=f"{prefix}-uris-0-0", job_config=options
        ).result()
        for name in ("uris-1-0", "change-0", "change-1"):
            failed = connected.query(
                "select error('of before')", job_id=f"{prefix}-{name}", job_retry=None
            )
            with pytest.raises(GoogleAPICallError):
                failed.result(job_retry=None)
    struck = api.struck
    api.fault(Fault("running", "GET", "uris-0-0", times=2))
    record = load(configured(through, B, request_timeout=30, job_timeout=60), run)
    assert api.struck == struck + 2
    assert (record.rows, record.already_loaded) == (400, False)
    assert runs_in_raw(config, B) == WANTED
    assert started(config, prefix) == {
        *("uris-0-0", "uris-1-0", "uris-1-1"),
        *("change-0", "change-1", "change-2"),
    }


def test_a_job_that_is_done_but_left_nothing_is_not_relied_on(
    through: Config, config: Config, run: RunFolder, prefix: str
) -> None:
    with client(config) as connected:
        connected.query("select 1", job_id=f"{prefix}-uris-0-0", job_retry=None).result()
    assert load(configured(through, B, request_timeout=30, job_timeout=60), run).rows == 400
    assert runs_in_raw(config, B) == WANTED
    assert started(config, prefix) == {"uris-0-0", "uris-1-0"}
    assert len(changes(config, run)) == 1


def staging_of(config: Config, run: RunFolder) -> str:
    return LoadTables.of(config, run.read("seal", Seal)).staging


def changes(config: Config, run: RunFolder) -> set[str]:
    """Return the jobs of a run that change the raw table."""
    prefix = staging_of(config, run).rpartition(".")[2].replace("staging", "sales_mart")
    return {each for each in started(config, prefix) if "-change-" in each}


def started(config: Config, prefix: str) -> set[str]:
    """Return the ends of the ids of all jobs that start with `prefix`."""
    with client(config) as connected:
        ids = [str(job.job_id) for job in connected.list_jobs(all_users=True)]
    return {each[len(prefix) + 1 :] for each in ids if each.startswith(prefix)}


# --- marts that are not those that were tested


def test_marts_that_another_attempt_has_built_anew_are_not_shown(
    config: Config, lake: Path
) -> None:
    run = sealed_run(config, lake, "new", NEW)
    load(config, run)
    with client(config) as connected:
        build_next(connected, config, "before")
        marks = built_tables(connected, BigQuery(config))
        assert marks.keys() == published_tables(config, B).keys()
        assert publish_marts(config, B, run, None, 1, marks).rows["fact_sales"] == 1

    later = sealed_run(config, lake, "later", OLD)
    load(config, later)
    with client(config) as connected:
        build_next(connected, config, "tested")
        marks = built_tables(connected, BigQuery(config))
        build_next(connected, config, "untested", ["sales_by_date"])
        ended = attempt(lambda: publish_marts(config, B, later, None, 2, marks))
        assert ended.code == 75
        assert "another attempt has built sales_by_date in bigquery" in ended.said
        assert products_shown(config) == {"before"}
        marks = built_tables(connected, BigQuery(config))
        assert publish_marts(config, B, later, None, 2, marks).rows["sales_by_date"] == 1
        assert products_shown(config) == {"tested", "untested"}


NUMBERS = ("price", "amount", "total_amount", "total_price", "avg_price")
COUNTS = ("quantity", "total_quantity", "transaction_count")


def build_next(
    connected: Client, config: Config, product: str, names: Sequence[str] | None = None
) -> None:
    """Build next marts of one row, which has the columns of all of them."""
    connected.create_dataset(next_schema(config, B), exists_ok=True)
    numbers = ", ".join(f"cast(1 as numeric) as {name}" for name in NUMBERS)
    counts = ", ".join(f"1 as {name}" for name in COUNTS)
    for name in names or published_tables(config, B):
        query(
            connected,
            f"create or replace table `{table_id(config, next_schema(config, B), name)}` as "
            f"select '{product}' as product, date '{DAY}' as sale_date, '{product}' as "
            f"transaction_id, cast(date_trunc(date '{DAY}', month) as date) as sale_month, "
            f"{numbers}, {counts}",
        )


def products_shown(config: Config) -> set[str]:
    names = (table_id(config, at, name) for name, (at, _) in published_tables(config, B).items())
    sql = " union all ".join(f"select product from `{name}`" for name in names)
    return {product for (product,) in ask(config, B, sql)}


# --- doctor and dbt


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(503), 75),
        (Fault("drop"), 75),
        (Fault("mute"), 75),
        (Fault("mute", path="datasets"), 75),
        (Fault("truncate"), 75),
        (Fault(403, reason="quotaExceeded"), 75),
        (Fault(403, reason="accessDenied"), 2),
    ],
)
def test_doctor_reports_an_outage_in_bounded_time(
    config: Config, api: Http, fault: Fault, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 1)
    api.fault(fault)
    through = configured(config, B, api_endpoint=api.url)
    ended = attempt(lambda: doctor.examine_warehouses(through, (B,)))
    assert ended.result.exit_code == code
    assert ended.seconds < 10
    assert all(check.remedy for check in ended.result.checks if check.status == "fail")


def test_dbt_gives_up_a_server_that_says_nothing(
    through: Config, config: Config, api: Http, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sealed_run(config, lake, "new", NEW)
    load(config, run)
    loaded = threading.Event()
    pending = transform._pending  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def then_mute(*arguments: object) -> object:
        found = pending(*arguments)  # pyright: ignore[reportArgumentType]
        api.fault(Fault("mute", "POST", "/jobs"))
        loaded.set()
        return found

    monkeypatch.setattr(transform, "_pending", then_mute)
    ended = attempt(lambda: transform.transform(through, run, (B,)))
    assert loaded.is_set()
    assert api.struck
    assert ended.code == 75
    assert ended.seconds < 120
