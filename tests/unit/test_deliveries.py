"""Which files are a delivery: dates in a source, folders, markers, ages, and what stays out."""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import pytest

from sales_mart.config import Config
from sales_mart.config.file import load_with_origins
from sales_mart.errors import ConfigurationError, NoSourceObjectError, SourceNotReadyError
from sales_mart.lake.records import Mode, Plan
from sales_mart.source.address import names_below
from sales_mart.source.listing import find_objects
from sales_mart.source.ready import Readiness
from sales_mart.steps.backfill import days_of_range
from sales_mart.steps.doctor import examine
from sales_mart.steps.plan import plan

CASES = Path(__file__).parents[1] / "cases"
DAY = date(2024, 1, 5)


def planned(folder: Path, source: str | list[str], config: Config | None = None) -> Plan:
    lake = str(folder.parent / "lake-of-plans")
    return plan(config or Config(), lake, business_date=DAY, source=source)


def files_of(made: Plan, folder: Path) -> list[str]:
    return [each.uri.removeprefix(f"{folder}/") for each in made.objects]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


# --- the date in a source


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("in/{date}.csv", ["in/2024-01-05.csv"]),
        ("in/{date:%Y/%m}/o_{date:%Y%m%d}*.csv", ["in/2024/01/o_20240105_1.csv"]),
        ("in/{date:%d %B %Y}.csv", ["in/05 January 2024.csv"]),
        ("in/{date:%G-W%V-%u}.csv", ["in/2024-W01-5.csv"]),
    ],
)
def test_a_date_may_be_written_in_any_form_and_several_times(
    tmp_path: Path, source: str, expected: list[str]
) -> None:
    folder = write(
        tmp_path / "x",
        *("in/2024-01-05.csv", "in/2024/01/o_20240105_1.csv", "in/2024/01/o_20240106_1.csv"),
        *("in/05 January 2024.csv", "in/2024-W01-5.csv"),
    )
    made = planned(folder, f"{folder}/{source}")
    assert (files_of(made, folder), made.mode) == (expected, Mode.APPEND)


@pytest.mark.parametrize(
    "source",
    [
        *("in/{day}.csv", "in/{date:%Q}.csv", "in/{date:%H}.csv", "in/{date:year}.csv"),
        *("in/{date:}.csv", "in/{date.csv", "in/date}.csv", "in/{{date}}.csv", "in/{}.csv"),
        *("in/{date:%Y%}.csv", "in/{Date}.csv", "in/{date} {x}.csv"),
    ],
)
def test_another_placeholder_or_a_brace_alone_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigurationError, match="is no placeholder") as caught:
        planned(tmp_path / "x", f"{tmp_path}/{source}")
    assert "{date:%Y%m%d}" in caught.value.remedy
    assert not (tmp_path / "lake-of-plans").exists()


def test_all_of_several_sources_are_daily_or_none_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", "a_20240105.csv", "b_20240105.csv", "c.csv")
    config = Config.model_validate(
        {"data_lake": {"source": [f"{folder}/{each}_{{date:%Y%m%d}}.csv" for each in "ab"]}}
    )
    made = plan(config, str(tmp_path / "lake"), business_date=DAY)
    assert files_of(made, folder) == ["a_20240105.csv", "b_20240105.csv"]
    assert made.source == " ".join(config.sources)
    assert len(days_of_range(config, DAY, DAY)) == 1
    with pytest.raises(ConfigurationError, match="only some of the sources have"):
        planned(folder, [*config.sources, f"{folder}/c.csv"])


# --- folders


@pytest.mark.parametrize(
    ("source", "read", "named"),
    [
        ("", "B.CSV|a (1).csv|a.csv|c.txt", "2024-01 (a f|.hidden.csv (h|d.csv.part (a temp"),
        ("/**/*", "2024-01/e.csv|B.CSV|a (1).csv|a.csv|c.txt", ".hidden.csv (h|d.csv.part (a t"),
        ("/*.part", "d.csv.part", ""),
        ("/.hidden.csv", ".hidden.csv", ""),
    ],
)
def test_a_folder_means_the_data_files_in_it(source: str, read: str, named: str) -> None:
    folder = CASES / "folder2"
    warnings: list[str] = []
    found = find_objects([f"{folder}{source}"], warnings.append)
    assert [each.uri.removeprefix(f"{folder}/") for each in found] == read.split("|")
    said = " ".join(warnings)
    for name in filter(None, named.split("|")):
        assert f"{folder}/{name}" in said
    assert said.count(" (") - said.count("a (1)") == len([*filter(None, named.split("|"))])


def test_every_kind_of_data_file_is_one_whatever_its_case_and_packing(tmp_path: Path) -> None:
    data = [f"a.{end}" for end in ("csv", "tsv", "TXT", "parquet", "jsonl", "XLSX", "zip")]
    data += [f"{name}{packed}" for name in data for packed in (".gz", ".Zst")]
    other = [
        "a.md",
        "a.xls",
        "a.json",
        "_SUCCESS",
        "~$a.xlsx",
        ".~lock.a.csv#",
        "a.csv.tmp",
        "a.csv~",
    ]
    write(tmp_path, *data, *other)
    warnings: list[str] = []
    found = find_objects([str(tmp_path)], warnings.append)
    assert [Path(each.uri).name for each in found] == sorted(data)
    for name, why in (
        ("a.md", "not one of"),
        ("~$a.xlsx", "a lock file"),
        (".~lock.a.csv#", "a lock file"),
        ("a.csv.tmp", "a temporary file"),
    ):
        assert f"/{name} ({why}" in warnings[0]
    assert warnings[0].count(f"{tmp_path}/") == len(other)


def test_a_glob_leaves_hidden_folders_alone_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "a/x.csv", ".ipynb_checkpoints/x.csv", "b/.trash/x.csv", "b/note.md")
    for glob in ("**/*.csv", "**/*", "**"):
        warnings: list[str] = []
        found = find_objects([f"{tmp_path}/{glob}"], warnings.append)
        assert [each.uri for each in found] == [f"{tmp_path}/a/x.csv"]
        assert f"{tmp_path}/.ipynb_checkpoints (hidden)" in warnings[0]
        assert f"{tmp_path}/b/.trash (hidden)" in warnings[0]
    (found,) = find_objects([f"{tmp_path}/b/.trash/*.csv"])
    assert found.uri == f"{tmp_path}/b/.trash/x.csv"


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["/in"], {"in/a.csv": "a.csv", "in/b.csv": "b.csv"}),
        (["/in/a.csv"], {"in/a.csv": "a.csv"}),
        (["/in/*.csv"], {"in/a.csv": "a.csv"}),
        (["/{date}/*.csv"], {"2024-01-05/a.csv": "2024-01-05/a.csv"}),
        (["/x_{date}/*.csv"], {"x_2024-01-05/a.csv": "x_2024-01-05/a.csv"}),
        (["/**/*.csv"], {"in/deep/a.csv": "in/deep/a.csv"}),
        (["/in", "/out/*.csv"], {"in/a.csv": "in/a.csv", "out/a.csv": "out/a.csv"}),
        (["/in/a.csv", "/in/b.csv"], {"in/a.csv": "a.csv", "in/b.csv": "b.csv"}),
        (["/in", "/inner"], {"in/a.csv": "in/a.csv", "inner/a.csv": "inner/a.csv"}),
    ],
)
@pytest.mark.parametrize("root", ["gs://bucket", "gs://bucket/deep", "/data"])
def test_a_file_is_called_by_what_its_sources_do_not_fix(
    root: str, sources: list[str], names: dict[str, str]
) -> None:
    made = names_below([f"{root}/{each}" for each in names], [f"{root}{each}" for each in sources])
    assert made == {f"{root}/{uri}": name for uri, name in names.items()}


def test_places_that_have_nothing_in_common_keep_their_addresses() -> None:
    uris = ["gs://a/x.csv", "/data/x.csv"]
    assert len(set(names_below(uris, uris).values())) == 2


def test_the_run_of_identifiers_by_file_changes_with_the_name(tmp_path: Path) -> None:
    by_file = Config.model_validate(
        {"ingestion": {"columns": {"transaction_id": {"from": ["$file", "$row"]}}}}
    )
    ids: dict[str, set[str]] = {"plain": set(), "by file": set()}
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("same")
        for kind, config in (("plain", Config()), ("by file", by_file)):
            ids[kind].add(planned(tmp_path / "in", f"{tmp_path}/in/{name}", config).run_id)
    assert (len(ids["plain"]), len(ids["by file"])) == (1, 2)


# --- what is not ready


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def config_of(folder: Path, **lake: object) -> Config:
    return Config.model_validate({"data_lake": {"source": str(folder), **lake}})


def test_a_delivery_waits_for_its_marker_in_each_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "1/a.csv", "2/b.csv", "1/_SUCCESS")
    config = config_of(folder / "*" / "*.csv", ready_marker="_SUCCESS")
    with pytest.raises(SourceNotReadyError, match=r"b\.csv \(without _SUCCESS\)") as caught:
        plan(config, str(tmp_path / "lake"), business_date=DAY)
    assert caught.value.exit_code == 75
    assert "a.csv" not in caught.value.message
    assert not (tmp_path / "lake").exists()
    (folder / "2" / "_SUCCESS").touch()
    made = plan(config, str(tmp_path / "lake"), business_date=DAY)
    assert files_of(made, folder) == ["1/a.csv", "2/b.csv"]


def test_a_marker_is_never_data(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "a.csv", "a.csv.done", "b.csv", "ready.csv")
    warnings: list[str] = []
    found = find_objects([f"{folder}/*.csv"], warnings.append, Readiness("ready.csv"))
    assert [Path(each.uri).name for each in found] == ["a.csv", "b.csv"]
    assert "ready.csv (the ready marker)" in warnings[0]
    with pytest.raises(NoSourceObjectError, match="the ready marker"):
        find_objects([f"{folder}/ready.csv"], readiness=Readiness("ready.csv"))
    with pytest.raises(SourceNotReadyError, match=r"b\.csv \(without b\.csv\.done\)") as caught:
        find_objects([f"{folder}/[ab]*"], readiness=Readiness("{file}.done"))
    assert "a.csv" not in caught.value.message.replace("a.csv.done", "")
    (folder / "b.csv.done").touch()
    found = find_objects([f"{folder}/[ab]*"], readiness=Readiness("{file}.done"))
    assert [Path(each.uri).name for each in found] == ["a.csv", "b.csv"]


def test_a_file_is_read_when_it_has_rested_long_enough(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "old.csv", "new.csv", "future.csv")
    for name, age in (("old.csv", 100), ("new.csv", 10), ("future.csv", -1000)):
        aged(folder / name, age)
    config = config_of(folder, minimum_age=60)
    with pytest.raises(SourceNotReadyError) as caught:
        plan(config, str(tmp_path / "lake"), business_date=DAY)
    assert "new.csv (changed 10 s ago)" in caught.value.message.replace("11 s", "10 s")
    assert "future.csv (changed 0 s ago)" in caught.value.message
    assert "old.csv" not in caught.value.message
    for name in ("new.csv", "future.csv"):
        aged(folder / name, 100)
    assert len(plan(config, str(tmp_path / "lake"), business_date=DAY).objects) == 3


def test_what_comes_while_it_is_looked_at_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A marker that is found after the list was made may belong to files that are not in it."""
    folder = write(tmp_path / "in", "a.csv")

    def deliver(*_: object) -> dict[str, str]:
        write(folder, "b.csv", "_SUCCESS")
        return {}

    monkeypatch.setattr("sales_mart.source.listing.not_ready", deliver)
    with pytest.raises(SourceNotReadyError, match=r"b\.csv \(just changed\)"):
        find_objects([str(folder)], readiness=Readiness("_SUCCESS"))
    monkeypatch.undo()
    assert len(find_objects([str(folder)], readiness=Readiness("_SUCCESS"))) == 2


@pytest.mark.parametrize("marker", ["", "a/b", "{name}.done", "{file", "*", "{file}", "a\0b"])
def test_a_marker_is_one_name(marker: str) -> None:
    with pytest.raises(ConfigurationError, match="ready_marker"):
        Config.model_validate({"data_lake": {"ready_marker": marker}})


def test_doctor_tells_that_a_delivery_is_not_ready(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", "a.csv")
    given: dict[str, object] = {
        "data_lake": {"source": [str(folder)], "ready_marker": "_SUCCESS"},
        "data_warehouse": {"targets": ["duckdb"], "duckdb": {"path": str(tmp_path / "x.duckdb")}},
    }
    report = examine(lambda: load_with_origins(None, given, {}))
    checks = {each.name: each for each in report.checks}
    assert checks["delivery"].status == "warn"
    assert "a.csv (without _SUCCESS)" in checks["delivery"].message
    assert checks["source"].status == "ok"
