"""A lake that fails: full, read-only, changed behind our back, or a storage API that is away."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pytest
from openpyxl import Workbook

from attempts import attempt
from faulty import Fault, Http, http
from sales_mart.config import Config
from sales_mart.config.keys import keys
from sales_mart.lake.records import Seal, Validate
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.steps import doctor
from sales_mart.steps.plan import plan
from sales_mart.steps.quarantine import Choice
from sales_mart.steps.quarantine_export import export_rejects
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import step_name, validate_shard
from support import mount_or_skip

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from conftest import Place
    from stores import Requests

DAY = date(2023, 10, 1)
CONFIG = Config.model_validate({"security": {"algorithm": "sha256"}})
ROWS = 12_000
HEADER = "transaction_id,product,price,quantity,date\n"
# Every third identifier occurs twice, so that `seal` has something to settle.
LINES = [f"T{n % 9000},Halal Mouse,{n % 50 + 1}.00,1,2023-10-0{n % 9 + 1}\n" for n in range(ROWS)]


def checked(lake: str, source: str) -> RunFolder:
    """Plan and validate."""
    plan(CONFIG, lake, business_date=DAY, source=source, run_id="a")
    run = RunFolder(lake, "a")
    validate_shard(CONFIG, run, 0)
    return run


def sealed(lake: str, source: str) -> Seal:
    """Plan, validate and seal."""
    return seal(CONFIG, checked(lake, source))


def nothing(*_: object) -> None:
    """Check no warehouse."""


def looked_at(lake: str, source: str) -> doctor.Report:
    """Let doctor look at a lake and a source."""
    settings: dict[str, Any] = {"security": {"algorithm": "sha256"}}
    config = Config.model_validate(settings | {"data_lake": {"lake": lake, "source": source}})
    origins = {key.dotted: "command line" for key in keys().values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_check_warehouses", nothing)
        return doctor.examine(lambda: (config, origins), str(DAY))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(HEADER + "".join(LINES))
    return path


# --- a disk without room

RUN = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from attempts import attempt
from test_outages_lake import sealed
if int(sys.argv[4]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
ended = attempt(lambda: sealed(sys.argv[2], sys.argv[3]))
print(ended.code, ended.said)
"""


def in_a_process(lake: Path, source: Path, most: int = 0) -> str:
    """Run in a process of its own: a signal may end it, and a limit is for ever."""
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(here.parents[1]), str(lake), str(source), str(most)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here.parent)},
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout


@pytest.fixture
def disk() -> Generator[Callable[[str], Path]]:
    """Yield a function that makes the lake's disk so large."""
    place = Path(tempfile.mkdtemp(prefix="sales-mart-disk-"))

    def mount(options: str) -> Path:
        if os.path.ismount(place):
            mount_or_skip("-o", f"remount,{options}", str(place))
        else:
            mount_or_skip("-t", "tmpfs", "-o", options, "tmpfs", str(place))
        return place

    try:
        yield mount
    finally:
        if os.path.ismount(place):
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        place.rmdir()


# The places where the room ends: validate's part, seal's flags and buckets, seal's part.
@pytest.mark.parametrize("kilobytes", [400, 1420, 1620])
def test_a_full_disk(disk: Callable[[str], Path], source: Path, kilobytes: int) -> None:
    lake = disk(f"size={kilobytes}k") / "lake"
    said = in_a_process(lake, source)
    assert said.startswith("2 ")
    assert "No space left on device" in said
    assert "Make room" in said
    assert not list(lake.rglob("seal.json"))
    disk("size=64m")
    assert sealed(str(lake), str(source)).rows_valid == 9000


def test_a_full_disk_under_rejected_rows(disk: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [(f"T{n * n}", f"Mouse {n * 77_777}", "two", "1", "2023-10-01") for n in range(1_500)]
    table = pl.DataFrame(rows, HEADER.strip().split(","), orient="row")
    table.write_csv(tmp_path / "a.csv")
    table.write_parquet(tmp_path / "a.parquet")
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (table.columns, *rows):
        sheet.append(list(row))
    book.save(tmp_path / "a.xlsx")
    to = disk("size=16k")
    for source in [*tmp_path.iterdir()]:
        run = checked(str(tmp_path / "lake" / source.name), str(source))
        ended = attempt(partial(export_rejects, CONFIG, run, Choice(), f"{to}/m"))
        assert (ended.code, "No space left on device" in ended.said) == (2, True), ended.said
        assert "Make room" in ended.said
        assert not [*to.iterdir()]


def test_a_file_that_may_not_grow(tmp_path: Path, source: Path) -> None:
    said = in_a_process(tmp_path / "lake", source, most=300_000)
    assert said.startswith("2 ")
    assert "could not be written" in said
    assert sealed(str(tmp_path / "lake"), str(source)).rows_valid == 9000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_read_only_lake(disk: Callable[[str], Path], source: Path) -> None:
    place = disk("size=64m")
    run = checked(str(place / "lake"), str(source))
    seal(CONFIG, run)
    disk("ro")
    for task in (
        lambda: plan(CONFIG, str(place / "lake"), business_date=DAY, source=str(source)),
        lambda: validate_shard(CONFIG, run, 0),
        lambda: seal(CONFIG, run),
        lambda: run.forget("seal"),
    ):
        ended = attempt(task)
        assert ended.code == 2
        assert "Read-only file system" in ended.said
    assert attempt(lambda: run.forget("transform", "reconcile")).code == 0
    assert looked_at(str(place / "lake"), str(source)).exit_code == 2
    disk("rw")
    assert seal(CONFIG, run).rows_valid == 9000


# --- what changes behind our back


def test_a_source_that_cannot_be_read_any_more(tmp_path: Path, source: Path) -> None:
    lake = str(tmp_path / "lake")
    plan(CONFIG, lake, business_date=DAY, source=str(source), run_id="a")
    run = RunFolder(lake, "a")
    text = source.read_text()
    source.unlink()
    assert attempt(lambda: validate_shard(CONFIG, run, 0)).code == 65
    source.mkdir()
    ended = attempt(lambda: validate_shard(CONFIG, run, 0))
    assert ended.code == 2
    assert "could not be read: Is a directory" in ended.said
    source.rmdir()
    source.write_text(text + "X1,Halal Mouse,1.00,1,2023-10-01\n")
    ended = attempt(lambda: validate_shard(CONFIG, run, 0))
    assert ended.code == 65
    assert "X1" not in ended.said
    assert run.find(step_name(0), Validate) is None
    source.write_text(text)
    assert validate_shard(CONFIG, run, 0).rows_read == ROWS


@pytest.mark.parametrize("damage", ["gone", "cut", "rubbish", "one bit"])
def test_a_part_that_is_damaged_before_the_seal(tmp_path: Path, source: Path, damage: str) -> None:
    run = checked(str(tmp_path / "lake"), str(source))
    (part,) = (tmp_path / "lake" / "runs" / "a" / "valid").iterdir()
    whole = part.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"cut": whole[:-100], "rubbish": b"x" * 100, "one bit": bytes(flipped)}
    part.unlink()
    if damage in damaged:
        part.write_bytes(damaged[damage])
    ended = attempt(lambda: seal(CONFIG, run))
    assert ended.code == 65
    assert run.find("seal", Seal) is None
    part.write_bytes(whole)
    assert seal(CONFIG, run).rows_valid == 9000


def test_a_record_that_is_no_file(tmp_path: Path, source: Path) -> None:
    run = checked(str(tmp_path / "lake"), str(source))
    record = tmp_path / "lake" / "runs" / "a" / f"{step_name(0)}.json"
    record.unlink()
    record.mkdir()
    ended = attempt(lambda: seal(CONFIG, run))
    assert ended.code == 2
    assert "could not be read" in ended.said


# --- stores of objects


class Api(NamedTuple):
    """A bucket behind a proxy, with a source in it."""

    place: Place
    proxy: Http

    @property
    def lake(self) -> str:
        return f"{self.place.uri}/lake"

    @property
    def source(self) -> str:
        return f"{self.place.uri}/in/*.csv"

    def sealed(self) -> Seal:
        """Plan, validate and seal."""
        return sealed(self.lake, self.source)


@pytest.fixture
def api(place: Place, source: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Api]:
    open_storage(f"{place.uri}/in").write("a.csv", source.read_bytes())
    with http(place.url) as proxy:
        for key, value in place.store.environment(proxy.url).items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(f"{place.store.client}.RETRY_SECONDS", 1.0)
        yield Api(place, proxy)


def test_what_fails_once_is_repeated_unnoticed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{api.place.store.client}.RETRY_SECONDS", 30.0)
    asked = api.place.store.requests
    faults = [
        Fault(503, "GET", asked.listing, times=1),
        Fault("truncate", "GET", asked.listing, times=1),
        Fault("lose answer", asked.upload, asked.create, times=1),
        Fault("truncate", "GET", r"plan\.json", times=1),
        Fault(429, "GET", r"a\.csv", times=1),
        Fault("drop", "GET", rf"a\.csv{asked.content}", times=1),
        Fault("truncate", "GET", rf"a\.csv{asked.content}", times=1),
        Fault("lose answer", asked.upload, *asked.part, times=1),
        Fault("drop", "GET", "valid(%2F|/)", times=1),
    ]
    api.proxy.fault(*faults)
    assert api.sealed().rows_valid == 9000
    assert api.proxy.struck == len(faults)


LASTING: list[tuple[Callable[[Requests], Fault], int, str]] = [
    (lambda _: Fault(503), 75, "HTTP 503"),
    (lambda _: Fault(429, reason="rateLimitExceeded"), 75, "HTTP 429"),
    (lambda _: Fault(403, reason="forbidden"), 2, "HTTP 403"),
    (lambda asked: Fault(404, "GET", asked.listing), 65, "no object matches"),
    (lambda asked: Fault(404, asked.upload), 2, "there is no bucket"),
    (lambda _: Fault("drop"), 75, "did not answer"),
    (lambda asked: Fault("mute", asked.upload), 75, "did not answer"),
    (lambda asked: Fault("slow", asked.upload), 75, "did not answer"),
    (lambda asked: Fault("truncate", "GET", rf"a\.csv{asked.content}"), 75, "did not answer"),
    (lambda _: Fault("truncate", "GET", "valid(%2F|/)"), 75, "did not answer"),
    (lambda asked: Fault("drop", asked.upload, *asked.part), 75, "did not answer"),
]


@pytest.mark.parametrize(("fault", "code", "said"), LASTING)
def test_what_lasts_ends_the_command_in_bounded_time(
    api: Api,
    fault: Callable[[Requests], Fault],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.proxy.fault(fault(api.place.store.requests))
    ended = attempt(api.sealed)
    assert api.proxy.struck
    assert ended.code == code
    assert ended.seconds < 20
    assert said in ended.said
    api.proxy.heal()
    monkeypatch.setattr(f"{api.place.store.client}.RETRY_SECONDS", 30.0)
    assert api.sealed().rows_valid == 9000


@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_google_limits_with_a_refusal(api: Api) -> None:
    api.proxy.fault(Fault(403, reason="rateLimitExceeded"))
    assert attempt(api.sealed).code == 75


def test_doctor_reports_a_storage_that_is_away(api: Api) -> None:
    for fault, code in ((Fault(503), 75), (Fault("mute"), 75), (Fault(404), 2)):
        api.proxy.fault(fault)
        ended = attempt(lambda: looked_at(api.lake, api.source))
        assert ended.result.exit_code == code
        assert ended.seconds < 20
        api.proxy.heal()
    api.proxy.fault(Fault("lose answer", api.place.store.requests.upload, times=1))
    assert looked_at(api.lake, api.source).exit_code in (0, 75)
    assert open_storage(api.lake).names() == []


# Azure's requests are signed with their conditions, so no proxy can take them away.
@pytest.mark.parametrize("place", ["gs", "s3"], indirect=True)
def test_doctor_refuses_a_store_where_two_can_create_one_object(api: Api) -> None:
    api.proxy.fault(Fault("unconditional"))
    (found,) = (each for each in looked_at(api.lake, api.source).checks if each.name == "lake")
    assert (found.status, found.exit_code) == ("fail", 2)
    assert "create" in found.message
    assert "If-None-Match" in found.remedy
    assert open_storage(api.lake).names() == []
    api.proxy.heal()
    assert looked_at(api.lake, api.source).exit_code == 0


def test_an_object_that_is_written_anew_is_another_one(bucket: str, source: Path) -> None:
    inputs = open_storage(f"{bucket}/in")
    inputs.write("a.csv", source.read_bytes())
    plan(CONFIG, f"{bucket}/lake", business_date=DAY, source=f"{bucket}/in/*.csv", run_id="a")
    run = RunFolder(f"{bucket}/lake", "a")
    inputs.write("a.csv", source.read_bytes() + b"X1,Halal Mouse,1.00,1,2023-10-01\n")
    assert attempt(lambda: validate_shard(CONFIG, run, 0)).code == 65
    inputs.delete("a.csv")
    assert attempt(lambda: validate_shard(CONFIG, run, 0)).code == 65
