"""A BigQuery API that fails: bounded waiting, the exit code, and no row lost or doubled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from attempts import NEW, OLD, attempt, configured, runs_in_raw
from faulty import Fault, Http, http
from sales_mart import doctor, transform
from sales_mart.load.bigquery import load
from sales_mart.records import Load, Target
from support import sealed_run

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sales_mart.config import Config

B = Target.BIGQUERY
EXISTING: dict[str, tuple[int, int]] = {"old": (3, 3)}
WANTED = {"new": (400, 400)}
CHANGE = "begin transaction"


@pytest.fixture
def api(bigquery_server: str) -> Generator[Http]:
    with http(bigquery_server) as proxy:
        yield proxy


@pytest.fixture
def through(config: Config, api: Http) -> Config:
    """Give a configuration whose requests pass the proxy, and are not patient."""
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


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("outage", LASTING, ids=lambda each: f"{each.fault.then}-{each.said}")
def test_what_lasts_ends_the_command_in_bounded_time(
    through: Config, config: Config, api: Http, lake: Path, outage: Outage
) -> None:
    run = sealed_run(config, lake, "new", NEW)
    api.fault(outage.fault)
    ended = attempt(lambda: load(through, run))
    assert api.struck
    assert ended.code == outage.code
    assert ended.seconds < 30
    assert outage.said in ended.said
    assert run.find("load-bigquery", Load) is None
    api.heal()
    again = load(config, run)
    assert (again.sequence, again.rows) == (2, 400)
    assert runs_in_raw(config, B) == WANTED


@pytest.mark.usefixtures("loaded")
def test_readers_see_the_old_rows_while_an_outage_lasts(
    through: Config, config: Config, api: Http, lake: Path
) -> None:
    run = sealed_run(config, lake, "new", NEW)
    api.fault(Fault("drop", "POST", "/jobs", CHANGE))
    assert attempt(lambda: load(through, run)).code == 75
    assert runs_in_raw(config, B) == EXISTING


def test_a_job_that_runs_longer_than_it_may(
    through: Config, config: Config, api: Http, lake: Path
) -> None:
    """The second attempt meets the first one's job, by its id, and starts no other."""
    run = sealed_run(config, lake, "new", NEW)
    hasty = configured(through, B, request_timeout=30, job_timeout=1)
    api.fault(Fault("slow", path="/queries/.*change"))
    ended = attempt(lambda: load(hasty, run))
    assert ended.code in (0, 75)
    api.heal()
    before = len(api.seen)
    assert load(configured(hasty, B, job_timeout=60), run).rows == 400
    assert runs_in_raw(config, B) == WANTED
    assert not [each for each in api.seen[before:] if "upload" in each]


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
