"""What can be said about BigQuery without a server: job ids, errors, SQL text, requests."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator

from append_story import D1, D2, dates
from googlesql import Tables, analyse, parse_script
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError, UnexpectedError
from sales_mart.lake.records import Mode, Seal
from sales_mart.schema import schema_of
from sales_mart.warehouses.admission import PastLoad
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery import staging as bigquery_tables
from sales_mart.warehouses.bigquery.append import Delivery, Effect, append_statements, effect_query
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    is_emulator,
    run_job,
)
from sales_mart.warehouses.bigquery.dialect import empty_table, literal
from sales_mart.warehouses.bigquery.load import change_script, replace_statements
from sales_mart.warehouses.bigquery.publish import publish_script
from sales_mart.warehouses.bigquery.staging import LoadTables, ensure_tables, stage
from sales_mart.warehouses.history import Change, load_values
from sales_mart.warehouses.publishing import NextMarts
from sales_mart.warehouses.windows import within
from support import row, sealed_run

if TYPE_CHECKING:
    from pathlib import Path

REAL = Config()
LOCAL = Config.model_validate(
    {"data_warehouse": {"bigquery": {"api_endpoint": "http://127.0.0.1:9050"}}}
)


def api_error(kind: type[api.GoogleAPICallError], reason: str, text: str = "said") -> Exception:
    """Build an error as the client does from the API's JSON."""
    return kind(text, errors=[{"reason": reason, "message": text, "domain": "global"}])


class FakeJob:
    """A load job: done, or ending in an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.state = "DONE"
        self.error_result = {"reason": "x"} if error else None

    def result(self, **_: Any) -> FakeJob:
        if self.error:
            raise self.error
        return self


class FakeClient:
    """The jobs that a server knows by their ids."""

    job_timeout = 10.0

    def __init__(self, **jobs: FakeJob) -> None:
        self.jobs = jobs
        self.started: list[str] = []
        self.next: list[FakeJob] = []

    def start(self, job_id: str) -> Any:
        if job_id in self.jobs:
            raise api_error(api.Conflict, "duplicate", f"Already Exists: Job {job_id}")
        self.started.append(job_id)
        self.jobs[job_id] = self.next.pop(0) if self.next else FakeJob()
        return self.jobs[job_id]

    def get_job(self, job_id: str, **_: Any) -> FakeJob:
        return self.jobs[job_id]

    def run(self, name: str) -> Any:
        return run_job(cast("Client", self), name, self.start)


def test_a_new_job_gets_the_first_suffix() -> None:
    fake = FakeClient()
    assert fake.run("load") is fake.jobs["load-0"]
    assert fake.started == ["load-0"]


def test_a_known_job_is_attached_to() -> None:
    known = FakeJob()
    fake = FakeClient(**{"load-0": known})
    assert fake.run("load") is known
    assert fake.started == []


def test_a_job_that_failed_before_advances_the_suffix() -> None:
    failed = FakeJob(api_error(api.BadRequest, "invalid"))
    fake = FakeClient(**{"load-0": failed, "load-1": failed})
    fake.run("load")
    assert fake.started == ["load-2"]


def test_a_temporary_error_of_a_job_is_tried_again() -> None:
    fake = FakeClient()
    fake.next = [FakeJob(api_error(api.InternalServerError, "backendError"))]
    fake.run("load")
    assert fake.started == ["load-0", "load-1"]


def test_temporary_errors_of_jobs_are_not_tried_for_ever() -> None:
    fake = FakeClient()
    fake.next = [FakeJob(api_error(api.InternalServerError, "backendError")) for _ in range(9)]
    with pytest.raises(api.InternalServerError):
        fake.run("load")
    assert fake.started == ["load-0", "load-1", "load-2"]


def test_a_lasting_error_of_a_job_is_not_tried_again() -> None:
    fake = FakeClient()
    fake.next = [FakeJob(api_error(api.BadRequest, "invalid"))]
    with pytest.raises(api.BadRequest):
        fake.run("load")
    assert fake.started == ["load-0"]


def test_a_connection_that_is_lost_while_a_job_runs_is_no_reason_for_another() -> None:
    job = FakeJob(api_error(api.ServiceUnavailable, "backendError"))
    job.state, job.error_result = "RUNNING", None
    fake = FakeClient()
    fake.next = [job]
    with pytest.raises(api.ServiceUnavailable):
        fake.run("load")
    assert fake.started == ["load-0"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (api_error(api.TooManyRequests, "rateLimitExceeded"), TemporaryError),
        (api_error(api.Forbidden, "rateLimitExceeded"), TemporaryError),
        (api_error(api.Forbidden, "quotaExceeded"), TemporaryError),
        (api_error(api.ServiceUnavailable, "backendError"), TemporaryError),
        (api_error(api.InternalServerError, "internalError"), TemporaryError),
        (
            api_error(
                api.BadRequest,
                "invalidQuery",
                "Transaction is aborted due to concurrent update against table p:d.t",
            ),
            TemporaryError,
        ),
        (api.RetryError("60 s are over", requests.ConnectionError()), TemporaryError),
        (requests.ConnectionError(), TemporaryError),
        (requests.Timeout(), TemporaryError),
        (TimeoutError(), TemporaryError),
        (api_error(api.Unauthorized, "authError"), ConfigurationError),
        (api_error(api.Forbidden, "accessDenied"), ConfigurationError),
        (api_error(api.NotFound, "notFound"), ConfigurationError),
        (api_error(api.BadRequest, "bytesBilledLimitExceeded"), ConfigurationError),
        (api_error(api.BadRequest, "invalidQuery"), UnexpectedError),
    ],
)
def test_errors_of_the_client_become_ours(error: Exception, expected: type[SalesMartError]) -> None:
    with pytest.raises(SalesMartError) as caught, bigquery_errors(REAL):
        raise error
    assert type(caught.value) is expected
    assert caught.value.remedy
    assert caught.value.__cause__ is None


def test_a_failed_query_quotes_no_value() -> None:
    error = api_error(api.BadRequest, "invalidQuery", "Bad int64 value: T00123")
    with pytest.raises(UnexpectedError) as caught, bigquery_errors(REAL):
        raise error
    assert "T00123" not in f"{caught.value} {caught.value.details}"
    assert caught.value.details == {"code": 400, "reason": "invalidQuery", "job_id": None}


def test_an_endpoint_without_tls_is_a_stand_in() -> None:
    assert is_emulator(LOCAL)
    assert not is_emulator(REAL)


def test_the_client_bounds_bytes_and_labels_jobs() -> None:
    settings = LOCAL.data_warehouse.bigquery.model_copy(update={"maximum_bytes_billed": 10**9})
    warehouse = LOCAL.data_warehouse.model_copy(update={"bigquery": settings})
    with client(LOCAL.model_copy(update={"data_warehouse": warehouse})) as opened:
        defaults = opened.default_query_job_config
        assert opened.location == "US"
    assert defaults is not None
    assert defaults.maximum_bytes_billed == 10**9
    assert defaults.labels == {"application": "sales_mart"}


def test_no_credentials_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(ConfigurationError, match="no usable Google credentials") as caught:
        client(REAL)
    assert "gcloud auth" in caught.value.remedy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (7, "7"),
        (date(2023, 10, 1), "date '2023-10-01'"),
        ("it's a \\ and\na line", r"'it\'s a \\ and\na line'"),
    ],
)
def test_literals(value: str | int | date | None, text: str) -> None:
    assert literal(value) == text
    if not isinstance(value, int):
        analyse(f"select {text} as x", {})


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ((), "false"),
        ((D1,), "(d in (date '2023-10-01'))"),
        (
            ("2023-09-30", "2023-10-01", "2023-10-02"),
            "(d between date '2023-09-30' and date '2023-10-02')",
        ),
        (
            ("2023-01-01", "2023-10-01", "2023-10-02", "2023-12-31"),
            (
                "(d between date '2023-10-01' and date '2023-10-02' or "
                "d in (date '2023-01-01', date '2023-12-31'))"
            ),
        ),
    ],
)
def test_windows_become_literal_dates(days: tuple[str, ...], text: str) -> None:
    assert within(dates(*days), "d") == text


def test_a_table_is_emptied_without_a_limit_of_partitions() -> None:
    assert empty_table(REAL, "p.d.t") == "truncate table `p.d.t`"
    assert empty_table(LOCAL, "p.d.t") == "delete from `p.d.t` where true"


CLEAN = {
    "transaction_id": "STRING",
    "product": "STRING",
    "price": "NUMERIC",
    "quantity": "INT64",
    "amount": "NUMERIC",
    "sale_date": "DATE",
    "source_file": "INT64",
    "source_row": "INT64",
}
DATASET = "sales-mart.transactions_warehouse"
TABLES: Tables = {
    f"{DATASET}.raw_transactions": CLEAN
    | {"run_id": "STRING", "business_date": "DATE", "superseded_by": "DATE"},
    f"{DATASET}.target_lock": {"run_id": "STRING"},
    f"{DATASET}.load_runs": {
        "sequence": "INT64",
        "run_id": "STRING",
        "business_date": "DATE",
        "mode": "STRING",
        "rows": "INT64",
        "yielded_rows": "INT64",
        "removed_rows": "INT64",
        "superseded_rows": "INT64",
        "shown_again_rows": "INT64",
        "visible_rows": "INT64",
        "rules": "STRING",
        "rejects": "STRING",
        "grain": "STRING",
        "rows_read": "INT64",
        "rows_rejected": "INT64",
        "key_id": "STRING",
        "sale_date_window": "STRING",
        "seal_digest": "STRING",
        "loaded_at": "TIMESTAMP",
    },
    f"{DATASET}.publications": {
        "run_id": "STRING",
        "sequence": "INT64",
        "mart_rules_digest": "STRING",
        "mart_rows": "STRING",
        "published_at": "TIMESTAMP",
        "slices": "INT64",
    },
}


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return sealed_run(REAL, tmp_path, "a", [row("T1", D1), row("T2", D2)]).read("seal", Seal)


def check_script(script: str, tables: Tables) -> list[str]:
    """Parse a script and resolve each of its statements; gives the statements."""
    parse_script(script)
    control = re.compile(r"\s*(?:(?:begin|commit|rollback) transaction|else|end if|if [^\n]* then)")
    statements = re.findall(r"(?ms)^    if exists \((.*?)\) then$", script)
    for piece in re.split(r"(?m);$|^else$", re.sub(r"(?ms)^    if exists .*?\) then$", "", script)):
        statement = control.sub("", piece).strip()
        statements += [statement] if statement else []
    for statement in statements:
        analyse(statement, tables)
    return statements


FIRST, SECOND = (date.fromisoformat(day) for day in (D1, D2))


def past(number: int, mode: Mode) -> PastLoad:
    return PastLoad(number, f"run_id_{number}", FIRST, mode, "sha256", 1, "{}", "{}", "[]")


SNAPSHOT, DELIVERY = past(1, Mode.REPLACE), past(2, Mode.APPEND)
KINDS = ("added", "hidden", "removed", "removed_hidden", "superseded", "shown_again", "moved")
EFFECTS = {
    "nothing": [],
    "rows are added": [(FIRST, "added", 2)],
    "everything": [(SECOND, kind, 1) for kind in KINDS],
}
PASTS = {
    "first": [],
    "other day": [SNAPSHOT._replace(business_date=SECOND), DELIVERY],
    "snapshot of the day": [SNAPSHOT, DELIVERY],
}


def values_of(seal: Seal, change: Change) -> dict[str, Any]:
    return load_values(REAL, seal, change, 5)


def test_the_script_of_a_replacement_is_googlesql(seal: Seal) -> None:
    names = LoadTables.of(REAL, seal)
    statements = replace_statements(REAL, names, seal)
    script = change_script(REAL, names, statements, values_of(seal, Change(None, 2)), 3)
    found = check_script(script, TABLES | {names.staging: CLEAN})
    assert script.startswith("begin transaction;\nupdate `")
    assert f"from `{DATASET}.load_runs`) != 2 then\n    rollback transaction;" in script
    assert script.endswith("    commit transaction;\nend if;\n")
    assert found[1].startswith("truncate table")


@pytest.mark.parametrize("loads", list(PASTS))
@pytest.mark.parametrize("effects", list(EFFECTS))
def test_the_script_of_an_append_is_googlesql(seal: Seal, effects: str, loads: str) -> None:
    names = LoadTables.of(REAL, seal)
    delivery, effect = Delivery.of(FIRST, PASTS[loads]), Effect.of(EFFECTS[effects])
    statements = append_statements(names, seal, delivery, effect)
    script = change_script(REAL, names, statements, values_of(seal, effect.change), 3)
    found = check_script(script, TABLES | {names.staging: CLEAN})
    for statement in found:
        if names.raw in statement and not statement.startswith("insert"):
            assert "false" in statement or "date '2023" in statement  # only partitions it names
    everything = effects == "everything"
    assert any(each.startswith("delete") for each in found) == everything
    assert ("superseded_by = settled.mark" in script) == everything
    assert ("later.mark" in script) == everything


@pytest.mark.parametrize("loads", list(PASTS))
def test_the_look_ahead_of_an_append_is_googlesql(seal: Seal, loads: str) -> None:
    names = LoadTables.of(REAL, seal)
    sql = effect_query(names, Delivery.of(FIRST, PASTS[loads]))
    found = analyse(sql, TABLES | {names.staging: CLEAN})
    assert found == {"sale_date": "DATE", "kind": "STRING", "row_count": "INT64"}
    # The names of runs are long; they are read where nothing else tells two rows apart.
    assert ("run_id" in sql) == (loads == "snapshot of the day")


@pytest.mark.parametrize("window", [None, (), dates(D1, D2, "2023-12-24")])
def test_the_script_of_a_publication_is_googlesql(window: tuple[date, ...] | None) -> None:
    measures = {
        "total_amount": "NUMERIC",
        "total_quantity": "INT64",
        "transaction_count": "INT64",
        "avg_price": "NUMERIC",
    }
    month = {"product": "STRING", "sale_month": "DATE"} | measures
    marts = {
        "fact_sales": {
            "transaction_id": "STRING",
            "product": "STRING",
            "price": "NUMERIC",
            "quantity": "INT64",
            "amount": "NUMERIC",
            "sale_date": "DATE",
        },
        "sales_by_date": {"sale_date": "DATE"} | measures,
        "sales_by_product": {"product": "STRING"} | measures,
        "summary_sales": month,
        "sales_by_product_month": month | {"total_price": "NUMERIC"},
    }
    columns = {name: list(types) for name, types in marts.items()}
    script = publish_script(
        BigQuery(REAL), NextMarts("a", window, 2, {}), columns, (), recorded=True
    )
    places = ("sales-mart.transactions_mart", "sales-mart.transactions_mart__next", DATASET)
    tables = {f"{place}.{name}": types for place in places for name, types in marts.items()}
    slices = {
        "mart": "STRING",
        "slice": "DATE",
        "row_count": "INT64",
        "amount": "NUMERIC",
        "quantity": "NUMERIC",
        "checksum": "NUMERIC",
    }
    check_script(script, TABLES | tables | {f"{DATASET}.published_slices": slices})
    if window:
        assert "date '2023-10-01' and date '2023-10-02'" in script
        assert "sale_month in (date '2023-10-01', date '2023-12-01')" in script


def rows_of(count: int) -> RowIterator:
    return cast("RowIterator", iter([(count,)]))


class StagingClient(FakeClient):
    """A server with one staging table."""

    def __init__(self, expires: datetime, rows: list[int]) -> None:
        super().__init__()
        self.rows = rows
        self.deleted = 0
        self.created: list[bigquery.Table] = []
        self.uris: list[list[str]] = []
        self.table = self._made(bigquery.Table("p.d.staging_0"), expires)

    def _made(self, table: bigquery.Table, expires: datetime | None) -> bigquery.Table:
        made = bigquery.Table.from_api_repr(
            table.to_api_repr() | {"creationTime": str(1_700_000_000_000 + len(self.created))}
        )
        made.expires = expires
        return made

    def get_table(self, _: str, **__: Any) -> bigquery.Table:
        if self.table is None:
            msg = "no table"
            raise api.NotFound(msg)
        return self.table

    def create_table(self, table: bigquery.Table, **_: Any) -> bigquery.Table:
        self.created.append(table)
        self.table = self._made(table, table.expires)
        return self.table

    def delete_table(self, _: str, **__: Any) -> None:
        self.deleted += 1
        self.table = None

    def load_table_from_uri(self, uris: list[str], _: str, **kwargs: Any) -> Any:
        self.uris.append(uris)
        assert kwargs["job_config"].write_disposition == "WRITE_APPEND"
        assert kwargs["job_config"].create_disposition == "CREATE_NEVER"
        return self.start(kwargs["job_id"])

    def count(self, *_: Any) -> RowIterator:
        return rows_of(self.rows.pop(0))


class BucketRun:
    """A run in a bucket."""

    run_id = "a"
    uri = "gs://bucket/lake/runs/a"


STAGING = LoadTables("p.d.raw", "p.d.load_runs", "p.d.staging_0", schema_of(REAL).valid)


class Stager:
    """Runs `stage` against a fake server."""

    def __init__(self, seal: Seal, patch: pytest.MonkeyPatch) -> None:
        self.seal = seal
        self.patch = patch

    def __call__(self, fake: StagingClient, *, parts: int = 1) -> str:
        self.patch.setattr(bigquery_tables, "query", fake.count)
        seal = self.seal.model_copy(update={"valid": self.seal.valid * parts})
        return stage(cast("Any", fake), cast("Any", BucketRun()), seal, STAGING, 3)


@pytest.fixture
def staged(seal: Seal, monkeypatch: pytest.MonkeyPatch) -> Stager:
    return Stager(seal, monkeypatch)


def later(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def test_job_ids_derive_from_run_sequence_and_table(staged: Stager) -> None:
    fake = StagingClient(later(20), [0, 2])
    assert staged(fake) == "sales_mart_0-3-1700000000000"
    assert fake.started == ["sales_mart_0-3-1700000000000-uris-0-0"]
    assert fake.uris == [[f"gs://bucket/lake/runs/a/{staged.seal.valid[0].name}"]]


def test_a_full_staging_table_is_taken_as_it_is(staged: Stager) -> None:
    fake = StagingClient(later(20), [2])
    staged(fake)
    assert fake.started == []


def test_a_staging_table_that_expires_soon_is_made_anew(staged: Stager) -> None:
    fake = StagingClient(later(1), [0, 2])
    staged(fake)
    assert fake.deleted == 1
    assert [field.mode for field in fake.created[0].schema] == ["NULLABLE"] * len(CLEAN)
    assert fake.created[0].expires is not None
    assert fake.created[0].expires > later(23)


def test_a_wrongly_filled_staging_table_is_made_anew_once(staged: Stager) -> None:
    fake = StagingClient(later(20), [1, 3, 0, 2])
    assert staged(fake) == "sales_mart_0-3-1700000000001"
    assert fake.deleted == 1
    again = StagingClient(later(20), [1, 3, 0, 1])
    with pytest.raises(UnexpectedError, match="does not hold the 2 sealed rows"):
        staged(again)


def test_a_load_job_names_ten_thousand_addresses_at_most(
    staged: Stager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bigquery_tables.MAX_URIS == 10_000
    monkeypatch.setattr(bigquery_tables, "MAX_URIS", 2)
    fake = StagingClient(later(20), [0, 2])
    staged(fake, parts=5)
    assert [len(uris) for uris in fake.uris] == [2, 2, 1]
    assert len(set(fake.started)) == 3


def test_tables_are_created_with_types_partitions_and_clusters(seal: Seal) -> None:
    made: dict[str, bigquery.Table] = {}

    class Empty:
        def get_table(self, *_: Any, **__: Any) -> Any:
            msg = "none"
            raise api.NotFound(msg)

        def get_dataset(self, *_: Any, **__: Any) -> None:
            return

        def create_table(self, table: bigquery.Table, **_: Any) -> bigquery.Table:
            made[table.table_id] = table
            return bigquery.Table.from_api_repr(table.to_api_repr() | {"numRows": "1"})

    ensure_tables(cast("Any", Empty()), REAL, LoadTables.of(REAL, seal))
    raw = made["raw_transactions"].to_api_repr()
    assert raw["timePartitioning"] == {"type": "DAY", "field": "sale_date"}
    assert raw["clustering"] == {"fields": ["product"]}
    price = next(field for field in raw["schema"]["fields"] if field["name"] == "price")
    assert (price["type"], price["precision"], price["scale"]) == ("NUMERIC", 18, 2)
    assert set(made) == {"raw_transactions", "load_runs", "target_lock"}


def test_another_scale_than_the_configured_is_refused(seal: Seal) -> None:
    columns = [
        bigquery.SchemaField(name, kind, scale=4, precision=18)
        if name == "price"
        else bigquery.SchemaField(name, kind)
        for name, kind in TABLES[f"{DATASET}.raw_transactions"].items()
    ]

    class Existing:
        def get_table(self, name: str, **_: Any) -> bigquery.Table:
            return bigquery.Table(name, schema=columns)

    with pytest.raises(ConfigurationError, match=r"price .* NUMERIC\(18,4\), .* NUMERIC\(18,2\)"):
        ensure_tables(cast("Any", Existing()), REAL, LoadTables.of(REAL, seal))


def test_requests_are_not_repeated_for_ten_minutes() -> None:
    assert REAL.data_warehouse.bigquery.request_timeout <= 60
    with client(LOCAL) as opened:
        assert opened.request_timeout == LOCAL.data_warehouse.bigquery.request_timeout


def test_loads_of_either_mode_have_staging_tables_of_their_own(tmp_path: Path) -> None:
    names = {
        LoadTables.of(REAL, sealed_run(REAL, tmp_path, run, [], mode=mode).read("seal", Seal))
        for run, mode in (("a", Mode.REPLACE), ("b", Mode.APPEND))
    }
    assert len(names) == 2
