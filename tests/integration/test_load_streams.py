"""A snapshot that reaches PostgreSQL in several streams side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from append_story import D1, D2, D3, STORY
from attempts import configured
from sales_mart.errors import ConfigurationError, SourceChangedError
from sales_mart.lake.records import Mode, Part, Seal
from sales_mart.warehouses.postgres.load import load
from support import row, sealed_run, token
from targets import Target
from warehouses import ask, change, fresh_config, raw_table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.servers.local import LocalServers

P = Target.POSTGRES
FILLED = "relname like 'sales^_mart^_load^_%' escape '^' and relkind = 'r'"

TRIGGER = """
    create trigger planted before update on {one}
    for each row execute function suppress_redundant_updates_trigger()
"""


def in_streams(config: Config, number: int) -> Config:
    return configured(config, P, load_streams=number)


def filled(config: Config) -> list[str]:
    """Name the tables that streams have filled and that the raw table is the parent of."""
    raw = raw_table(config, P)
    sql = f"""
        select inhrelid::regclass::text from pg_inherits
        inner join pg_class on oid = inhrelid
        where inhparent = to_regclass('{raw}') and {FILLED} order by 1
    """
    return [name for (name,) in ask(config, P, sql)]


def every_row(config: Config) -> list[tuple[Any, ...]]:
    return ask(config, P, f"select * from {raw_table(config, P)} order by 1, run_id")


def snapshot(config: Config, lake: Path, run_id: str, rows: int, **options: Any) -> RunFolder:
    """Seal a run whose rows are in one part each."""
    listed = [row(f"T{number}", D1, f"{number}.50") for number in range(1, rows + 1)]
    run = sealed_run(config, lake, run_id, listed, **options)
    seal = run.read("seal", Seal)
    with run.sealed_part(seal.valid[0]) as path:
        frame = pl.read_parquet(path)
    parts: list[Part] = []
    for number in range(frame.height):
        path = lake / f"{run_id}-{number}.parquet"
        frame[number : number + 1].write_parquet(path)
        parts.append(run.put_part(f"valid/{number:05d}-00001", path, 1))
    run.write("seal", seal.model_copy(update={"valid": tuple(parts)}))
    return run


def test_the_number_of_streams_changes_no_row(servers: LocalServers, tmp_path: Path) -> None:
    found: list[list[tuple[Any, ...]]] = []
    for streams in (1, 2, 5):
        config, lake = in_streams(fresh_config(servers), streams), tmp_path / str(streams)
        lake.mkdir()
        load(config, sealed_run(config, lake, "former", [row("T9", D1)]))
        raw = raw_table(config, P)
        reader, view = f"reader_{config.data_warehouse.dataset}", f'{raw[:-1]}_view"'
        change(config, P, f"create view {view} as select * from {raw}", f"create role {reader}")
        schema = raw.partition(".")[0]
        change(config, P, f"grant usage on schema {schema} to {reader}")
        change(config, P, f"grant select on {raw} to {reader}")
        assert load(config, snapshot(config, lake, "whole", 40)).rows == 40
        assert len(filled(config)) == (streams if streams > 1 else 0)
        assert ask(config, P, f"select count(*) from {view}") == [(40,)]
        for number, batch in enumerate(STORY):
            run = sealed_run(
                config, lake, f"r{number}", batch.rows, business_date=batch.day, mode=Mode.APPEND
            )
            load(config, run)
        found.append(every_row(config))
        change(config, P, f"set role {reader}; create temp table t as select * from {raw}")
        last = sealed_run(config, lake, "last", [row("T1", D3)], business_date=D3)
        assert load(in_streams(config, 1), last).removed_rows == len(
            [each for each in found[-1] if each[-1] is None]
        )
        assert filled(config) == []
        assert [each[0] for each in every_row(config)] == [token("T1")]
        change(config, P, f"drop owned by {reader}", f"drop role {reader}")
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 40


def test_a_row_is_superseded_in_its_own_table(config: Config, lake: Path) -> None:
    """The first row of each table stands at the same place."""
    config = in_streams(config, 2)
    load(config, sealed_run(config, lake, "whole", [row("T1", D1)]))
    for run_id, day in (("second", D2), ("third", D3)):
        run = sealed_run(config, lake, run_id, [row("T1", D1)], business_date=day, mode=Mode.APPEND)
        load(config, run)
    places = f"select count(distinct ctid) from {raw_table(config, P)} where run_id <> 'third'"
    assert ask(config, P, places) != [(0,)]
    marks = f"select run_id, cast(superseded_by as text) from {raw_table(config, P)} order by 1"
    assert ask(config, P, marks) == [("second", D3), ("third", None), ("whole", D2)]


def test_every_table_of_the_raw_rows_is_looked_up_by_index(config: Config, lake: Path) -> None:
    config = in_streams(config, 2)
    load(config, sealed_run(config, lake, "whole", [row("T1", D1)]))
    batch = [row("T1", D2)]
    load(config, sealed_run(config, lake, "day", batch, business_date=D2, mode=Mode.APPEND))
    sql = """
        select string_agg(pg_get_indexdef(indexrelid, 1, true) || indisunique::text, ' '
            order by indexrelid)
        from pg_index where indrelid = to_regclass('{}')
    """
    names = [raw_table(config, P), *filled(config)]
    definitions = {ask(config, P, sql.format(name))[0][0] for name in names}
    assert len(names) == 3
    assert len(definitions) == 1
    assert "transaction_id" in str(definitions)


@pytest.mark.parametrize(
    "changed",
    [
        "alter table {} add check (quantity < 1000)",
        "alter table {} set (fillfactor = 50)",
        "create index on {} (product)",
    ],
)
def test_what_an_administrator_gave_the_table_holds_for_all_rows(
    config: Config, lake: Path, changed: str
) -> None:
    config = in_streams(config, 2)
    load(config, sealed_run(config, lake, "former", [row("T1", D1)]))
    assert len(filled(config)) == 2
    change(config, P, changed.format(raw_table(config, P)))
    assert load(config, snapshot(config, lake, "whole", 3)).rows == 3
    assert filled(config) == []


def test_a_part_that_is_gone_ends_all_streams(config: Config, lake: Path) -> None:
    config = in_streams(config, 3)
    load(config, sealed_run(config, lake, "former", [row("T1", D1)]))
    run = snapshot(config, lake, "whole", 5)
    (lake / "runs" / "whole" / run.read("seal", Seal).valid[3].name).unlink()
    before = every_row(config), filled(config)
    with pytest.raises(SourceChangedError, match="is gone"):
        load(config, run)
    assert (every_row(config), filled(config)) == before


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ("create table {one}_own () inherits ({raw})", "inherits from another table"),
        (TRIGGER, "has a trigger"),
    ],
)
def test_tables_that_are_not_as_a_load_left_them_are_refused(
    config: Config, lake: Path, planted: str, message: str
) -> None:
    config = in_streams(config, 2)
    load(config, sealed_run(config, lake, "former", [row("T1", D1)]))
    change(config, P, planted.format(raw=raw_table(config, P), one=filled(config)[0]))
    with pytest.raises(ConfigurationError, match=message):
        load(config, sealed_run(config, lake, "whole", [row("T2", D1)]))
