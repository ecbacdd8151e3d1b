"""How to reach BigQuery: client, jobs, errors in our words, and what was loaded and published."""

from __future__ import annotations

import logging
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import requests
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator

from sales_mart.error_codes import kind_of_http
from sales_mart.errors import (
    ConfigurationError,
    SalesMartError,
    TemporaryError,
    UnexpectedError,
)
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from sales_mart.config import Config

__all__ = [
    "PAGE",
    "Client",
    "bigquery_errors",
    "built_tables",
    "client",
    "ensure_dataset",
    "existing_table",
    "is_emulator",
    "query",
    "run_job",
    "table_id",
]

_log = logging.getLogger(__name__)

PAGE = 10_000
"""Rows that are fetched at once."""
_ATTEMPTS = 3
_CONFLICTS = ("concurrent update", "Transaction is aborted")

Job = bigquery.QueryJob | bigquery.LoadJob


def is_emulator(config: Config) -> bool:
    """Return whether the API is a stand-in: Google's own is never reached without TLS."""
    return (config.data_warehouse.bigquery.api_endpoint or "").startswith("http://")


def client(config: Config) -> Client:
    """Open a client; use it as a context manager.

    Raises:
        ConfigurationError: There are no credentials, or they are not readable.
    """
    settings = config.data_warehouse.bigquery
    labels = {"application": "sales_mart"}
    query_defaults = bigquery.QueryJobConfig(labels=labels)
    if settings.maximum_bytes_billed is not None:
        query_defaults.maximum_bytes_billed = settings.maximum_bytes_billed
    options: dict[str, Any] = {
        "location": settings.location,
        "default_query_job_config": query_defaults,
        "default_load_job_config": bigquery.LoadJobConfig(labels=labels),
    }
    if settings.api_endpoint:
        options["client_options"] = {"api_endpoint": settings.api_endpoint}
    opened = _open(config, options)
    opened.request_timeout = settings.request_timeout
    opened.job_timeout = settings.job_timeout
    return opened


def _open(config: Config, options: dict[str, Any]) -> Client:
    settings = config.data_warehouse.bigquery
    project = config.data_warehouse.project_id
    if is_emulator(config):
        anonymous = AnonymousCredentials()
        session = AuthorizedSession(anonymous)
        session.trust_env = False  # a proxy of the environment is no way to this computer
        return Client(project, credentials=anonymous, _http=session, **options)
    try:
        if settings.credentials_file:
            return Client.from_service_account_json(
                settings.credentials_file, project=project, **options
            )
        return Client(project, **options)
    except (DefaultCredentialsError, OSError, ValueError) as error:
        msg = f"no usable Google credentials: {type(error).__name__}"
        raise ConfigurationError(
            msg,
            remedy="Run `gcloud auth application-default login`, or name a service account file "
            "in data_warehouse.bigquery.credentials_file or GOOGLE_APPLICATION_CREDENTIALS.",
        ) from error


@contextmanager
def bigquery_errors(config: Config) -> Generator[None]:
    """Turn the client's errors into ours, with reason and job id and without values of rows.

    The server's text about a query is dropped (`from None`): it may quote the value it chokes on.
    """
    try:
        yield
    except (api.GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
        raise _translated(error, config) from None
    except FutureTimeoutError:
        seconds = config.data_warehouse.bigquery.job_timeout
        msg = f"{_where(config)}: a job took longer than {seconds} seconds"
        raise TemporaryError(
            msg,
            remedy="Run the same command again: a load waits for the same job. If it goes on, "
            "raise data_warehouse.bigquery.job_timeout.",
        ) from None


def _translated(error: Exception, config: Config) -> SalesMartError:
    where = _where(config)
    if isinstance(error, api.RetryError) and error.cause is not None:
        error = error.cause  # what the server said each time
    kind = type(error).__name__
    if not isinstance(error, api.GoogleAPICallError):
        if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            return ConfigurationError(
                f"{where} refused the credentials: {kind}",
                remedy="Run `gcloud auth application-default login`, or renew the key.",
            )
        return TemporaryError(
            f"{where} does not answer: {kind}",
            remedy="Check the network and the endpoint, then run the same command again.",
        )
    reason = _reason(error)
    job = getattr(error, "query_job", None)
    details = {"code": error.code, "reason": reason, "job_id": getattr(job, "job_id", None)}
    if any(text in str(error.message) for text in _CONFLICTS):
        reason = "concurrent update"
    found = (
        TemporaryError if reason == "concurrent update" else kind_of_http(error.code or 0, reason)
    )
    if found is TemporaryError:
        return TemporaryError(
            f"{where}: {kind}, {reason}", remedy="Run the same command again.", details=details
        )
    if reason == "bytesBilledLimitExceeded":
        return ConfigurationError(
            f"{where}: a query would bill more than maximum_bytes_billed",
            remedy="Raise data_warehouse.bigquery.maximum_bytes_billed.",
            details=details,
        )
    if found is ConfigurationError:
        return ConfigurationError(
            f"{where} refused: {error.message}",
            remedy="Check project, datasets and location, and that the account has the roles "
            "BigQuery Job User and BigQuery Data Editor.",
            details=details,
        )
    return UnexpectedError(
        f"{where}: {kind}, {reason}",
        remedy="Please report this as a bug, with the details.",
        details=details,
    )


def _reason(error: api.GoogleAPICallError) -> str:
    for item in cast("list[dict[str, Any]]", error.errors or []):
        if item.get("reason"):
            return str(item["reason"])
    return "no reason given"


def _where(config: Config) -> str:
    return f"BigQuery {config.data_warehouse.project_id}"


def table_id(config: Config, dataset: str, table: str) -> str:
    """Return `project.dataset.table`, to stand between backticks in SQL."""
    return f"{config.data_warehouse.project_id}.{dataset}.{table}"


def ensure_dataset(client: Client, config: Config, name: str) -> None:
    """Create a dataset that is missing; the right to create one is not needed for others."""
    dataset = bigquery.Dataset(f"{config.data_warehouse.project_id}.{name}")
    try:
        client.get_dataset(dataset.reference)
    except api.NotFound:
        dataset.location = config.data_warehouse.bigquery.location
        client.create_dataset(dataset, exists_ok=True)


def existing_table(client: Client, name: str) -> bigquery.Table | None:
    """Look a table up; None when there is none."""
    try:
        return client.get_table(name)
    except api.NotFound:
        return None


def built_tables(client: Client, warehouse: BigQuery) -> dict[str, str]:
    """Return the moments at which the next marts came into being, by name.

    dbt makes each table anew, so another moment means another build.
    """
    config, schema = warehouse.config, warehouse.next_schema
    names = [mart.name for mart in warehouse.marts]
    tables = {name: existing_table(client, table_id(config, schema, name)) for name in names}
    return {
        name: table.created.isoformat()
        for name, table in tables.items()
        if table is not None and table.created is not None
    }


def query(
    client: Client,
    sql: str,
    params: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter] = (),
) -> RowIterator:
    """Run one statement and give its rows as they stream in, a page per request."""
    job = client.query(
        sql,
        job_config=bigquery.QueryJobConfig(query_parameters=list(params)),
        job_retry=None,
    )
    rows = job.result(page_size=PAGE, job_retry=None, timeout=client.job_timeout)
    return cast("RowIterator", rows)


def run_job(client: Client, name: str, start: Callable[[str], Job]) -> Job:
    """Run a job whose id derives from `name`, once, however often this is called.

    A job of the same id that runs already, or is done, is the one that is wanted. A job that
    ended in an error keeps its id for ever, so the next attempt takes the next suffix.

    Args:
        client: The client.
        name: What the job's id starts with.
        start: Starts a job under a given id.

    Returns:
        The job, done and without error.
    """
    started = 0
    for suffix in range(1000):
        job_id = f"{name}-{suffix}"
        try:
            job = start(job_id)
            started += 1
            ours = True
        except api.Conflict:
            _log.info("attaching to job %s", job_id)
            job = cast("Job", client.get_job(job_id))
            ours = False
        try:
            _finish(job, client.job_timeout)
        except api.GoogleAPICallError as error:
            if job.state != "DONE" or not job.error_result:
                raise
            kind = kind_of_http(error.code or 0, _reason(error))
            again = started < _ATTEMPTS and kind is TemporaryError
            if ours and not again:
                raise
            _log.info("job %s ended in an error: %s", job_id, _reason(error))
            continue
        return job
    msg = f"a thousand jobs named {name} ended in errors"
    raise UnexpectedError(msg, remedy="Start a new run with a new id.")


def _finish(job: Job, seconds: float) -> None:
    if isinstance(job, bigquery.QueryJob):
        job.result(max_results=0, job_retry=None, timeout=seconds)
    else:
        job.result(timeout=seconds)


def add_columns(
    client: Client, config: Config, table: bigquery.Table, fields: Sequence[bigquery.SchemaField]
) -> None:
    """Give a table nullable columns; views and grants on it stay."""
    if not fields:
        return
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    added: list[str] = []
    for field in fields:
        digits = "" if field.scale is None else f"({field.precision}, {field.scale})"
        added.append(f"add column if not exists `{field.name}` {field.field_type}{digits}")
    # The stand-in server takes one at a time, and does not see them in its own catalogue.
    for addition in added if is_emulator(config) else [", ".join(added)]:
        query(client, f"alter table `{name}` {addition}")
    if is_emulator(config):
        table.schema = [*table.schema, *fields]
        client.update_table(table, ["schema"])
