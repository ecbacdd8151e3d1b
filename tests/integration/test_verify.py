"""Published marts that somebody changes by hand: found by `publish`, `export` and `verify`."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pydantic import SecretStr

from sales_mart.errors import ConfigurationError, MartsChangedError
from sales_mart.lake.records import Mode
from sales_mart.names import (
    PRODUCT_MONTHS,
    PUBLICATIONS,
    PUBLISHED_SLICES,
    QUALITY_HISTORY,
    raw_schema,
)
from sales_mart.steps.export import export
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from sales_mart.steps.verify import verify
from support import Row, row, sealed_run
from targets import Target
from warehouses import (
    BOTH,
    POSTGRES,
    Schemas,
    ask,
    change,
    fact_table,
    loaded,
    mart_schema,
    next_table,
    published_tables,
    raw_table,
    stored_table,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

PG, BQ = BOTH
AUGUST, D1, D2, D3 = "2023-08-15", "2023-10-01", "2023-10-02", "2023-10-03"
INK = Row("T3", "Halal Ink", Decimal("7.50"), 2, date.fromisoformat(D1))
DAY_1 = [row("T1", D1, "10.00"), row("T2", AUGUST, "3.00"), INK]
DAY_2 = [row("T4", D2, "9.00"), row("T5", D2, "1.00", 4)]
FACT_ROW = "('{token}', 'Halal Mouse', 1.00, 1, 1.00, date '{day}')"
# Mart -> slice to edit -> edits: one of each kind.
EDITS = {
    f"fact {day}": (
        f"update {{fact}} set amount = amount + 0.01 where sale_date = date '{day}'",
        f"update {{fact}} set product = 'Halal Other' where sale_date = date '{day}'",
        f"delete from {{fact}} where sale_date = date '{day}'",
        "insert into {fact} (transaction_id, product, price, quantity, amount, sale_date) values "
        + FACT_ROW.format(token="0" * 64, day=day),
    )
    for day in (D2, D1, AUGUST)
} | {
    "sales_by_date": (
        f"update {{sales_by_date}} set total_amount = 1.00 where sale_date = date '{D1}'",
        f"update {{sales_by_date}} set avg_price = 1.00 where sale_date = date '{AUGUST}'",
        f"delete from {{sales_by_date}} where sale_date = date '{AUGUST}'",
        (
            "insert into {sales_by_date} (sale_date, total_amount, total_quantity,"
            f" transaction_count, avg_price) values (date '{D3}', 1.00, 1, 1, 1.00)"
        ),
    ),
    "sales_by_product": (
        "update {sales_by_product} set total_quantity = 1 where product = 'Halal Ink'",
        "delete from {sales_by_product} where true",
        (
            "insert into {sales_by_product} (product, total_amount, total_quantity,"
            " transaction_count, avg_price) values ('Halal Dates', 1.00, 1, 1, 1.00)"
        ),
    ),
    "summary_sales": (
        "update {summary_sales} set avg_price = 1.00 where product = 'Halal Ink'",
        "delete from {summary_sales} where true",
        (
            "insert into {summary_sales} (product, sale_month, total_amount, avg_price,"
            " transaction_count) values ('Halal Dates', date '2023-10-01', 1.00, 1.00, 1)"
        ),
    ),
    PRODUCT_MONTHS: (
        f"update {{{PRODUCT_MONTHS}}} set total_price = 1.00 where product = 'Halal Ink'",
        f"delete from {{{PRODUCT_MONTHS}}} where sale_month = date '2023-08-01'",
        (
            f"insert into {{{PRODUCT_MONTHS}}} (product, sale_month, total_amount, total_quantity,"
            " total_price, transaction_count) values"
            " ('Halal Dates', date '2023-10-01', 1.00, 1, 1.00, 1)"
        ),
    ),
}
UNREAD = f"fact {AUGUST}"
"""Facts of a month that the last run did not touch: no step reads them, `verify` does."""


class Shown(NamedTuple):
    """Two runs that are published and exported."""

    config: Config
    lake: Path
    run: RunFolder


def taken(
    config: Config, run: RunFolder, targets: Sequence[Target] = BOTH, *, full_refresh: bool = False
) -> RunFolder:
    """Load, transform and reconcile."""
    loaded(config, run, targets)
    transform(config, run, targets, full_refresh=full_refresh)
    reconcile(config, run, targets)
    return run


def tables(config: Config, target: Target) -> dict[str, str]:
    """Quoted names of the published marts."""
    found = {
        name: table(config, target, schema, name)
        for name, (schema, _) in published_tables(config, target).items()
    }
    return {**found, "fact": found[fact_table(target)]}


def edited(config: Config, target: Target) -> dict[str, str]:
    """Quoted names of what holds their rows, and of the raw table."""
    found = {name: stored_table(config, target, name) for name in published_tables(config, target)}
    return {**found, "fact": found[fact_table(target)], "raw": raw_table(config, target)}


def copy_of(name: str) -> str:
    return f"{name[:-1]}_copy{name[-1]}"


@pytest.fixture(scope="module")
def shown(schemas: Schemas, tmp_path_factory: pytest.TempPathFactory) -> Generator[Shown]:
    """Give two days that are published in both warehouses, with a copy of what they show."""
    with schemas.config() as config:
        lake = tmp_path_factory.mktemp("lake")
        for number, rows in ((1, DAY_1), (2, DAY_2)):
            day = f"2023-10-0{number}"
            run = sealed_run(config, lake, f"r{number}", rows, business_date=day, mode=Mode.APPEND)
            publish(config, taken(config, run), BOTH)
        export(config, run)  # pyright: ignore[reportPossiblyUnboundVariable]
        for target in BOTH:
            names = {*tables(config, target).values(), raw_table(config, target)}
            for name in names:
                change(config, target, f"create table {copy_of(name)} as select * from {name}")
        yield Shown(config, lake, run)  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.fixture
def plant(shown: Shown) -> Generator[Callable[[Target, str], None]]:
    """Yield what changes one table of a warehouse, and puts back what was changed before."""
    config = shown.config
    changed: list[tuple[Target, str, str]] = []

    def put_back() -> None:
        while changed:
            target, name, copy = changed.pop()
            restore = f"insert into {name} select * from {copy}"
            change(config, target, f"delete from {name} where true", restore)

    def edit(target: Target, sql: str) -> None:
        put_back()
        names = edited(config, target)
        originals = {**tables(config, target), "raw": raw_table(config, target)}
        copies = {name: copy_of(originals[key]) for key, name in names.items()}
        changed.extend(
            (target, name, copy) for name, copy in copies.items() if name in sql.format(**names)
        )
        change(config, target, sql.format(**names))

    yield edit
    put_back()


def failed(shown: Shown, targets: Sequence[Target] = BOTH) -> dict[str, str]:
    """Return the checks of `verify` that failed, and what they say."""
    found = verify(shown.config, targets, lake=str(shown.lake))
    bad = {each.name: each.message for each in found.checks if each.status == "failed"}
    assert found.exit_code == (65 if bad else 0)
    assert all(each.remedy for each in found.checks if each.status == "failed")
    return bad


def test_marts_that_nobody_changed_agree(shown: Shown) -> None:
    found = verify(shown.config, BOTH, lake=str(shown.lake))
    assert {each.name: each.status for each in found.checks} == dict.fromkeys(
        (
            *(
                f"{target}: {what}"
                for target in BOTH
                for what in (
                    "marts and their publication",
                    "marts with each other",
                    "facts and raw",
                    "quality_history and loads",
                )
            ),
            "postgres and bigquery",
            "export: files",
            "export: publication",
        ),
        "ok",
    )
    assert publish(shown.config, shown.run, BOTH).rows[PG][PRODUCT_MONTHS] == 3


@pytest.mark.parametrize("target", BOTH)
def test_every_edit_of_a_published_mart_is_found(
    shown: Shown, plant: Callable[[Target, str], None], target: Target
) -> None:
    config, run = shown.config, shown.run
    for turn, (mart, edits) in enumerate(EDITS.items()):
        name = mart.replace("fact", fact_table(target)).partition(" ")[0]
        # The conditions are the same in both warehouses: one edit of each mart in the slow one.
        for number, sql in enumerate(edits if target is PG else [edits[turn % len(edits)]]):
            plant(target, sql)
            if mart != UNREAD:
                with pytest.raises(MartsChangedError) as raised:
                    publish(config, run, (target,))
                assert f"{target}: the published marts are not what was published" in str(
                    raised.value
                )
                assert name in raised.value.message, sql
                assert "--full-refresh" in raised.value.remedy
                assert raised.value.exit_code == 65
            if number == 0 and (target is PG or mart == UNREAD):
                found = failed(shown, (target,))
                assert name in found[f"{target}: marts and their publication"], sql
            if number == 0 and "fact" not in mart and (target is PG or mart == "summary_sales"):
                before = (shown.lake / "export" / "manifest.json").read_bytes()
                with pytest.raises(MartsChangedError, match=name):
                    export(only(config, target), run)
                assert (shown.lake / "export" / "manifest.json").read_bytes() == before


def only(config: Config, target: Target) -> Config:
    warehouse = config.data_warehouse.model_copy(update={"targets": (target,)})
    return config.model_copy(update={"data_warehouse": warehouse})


def test_the_message_says_which_mart_and_day_differ_and_by_how_much(
    shown: Shown, plant: Callable[[Target, str], None]
) -> None:
    for target in BOTH:
        plant(target, f"delete from {{fact}} where sale_date = date '{D2}' and quantity = 4")
        with pytest.raises(MartsChangedError) as raised:
            publish(shown.config, shown.run, (target,))
        assert (
            f"{fact_table(target)} has 1 rows, amount 9.00, quantity 1 for 2023-10-02, "
            "the publication: 2 rows, amount 13.00, quantity 5"
        ) in raised.value.message


@pytest.mark.parametrize("target", BOTH)
def test_a_row_deleted_in_raw_is_found(
    shown: Shown, plant: Callable[[Target, str], None], target: Target
) -> None:
    plant(target, f"delete from {{raw}} where sale_date = date '{AUGUST}'")
    found = failed(shown, (target,))
    assert found == {
        f"{target}: facts and raw": f"{fact_table(target)} has 1 rows, amount 3.00, quantity 1 for "
        f"{AUGUST}, raw: 0 rows, amount 0, quantity 0"
    }


@pytest.mark.parametrize("target", BOTH)
def test_an_edit_of_the_quality_history_is_found(shown: Shown, target: Target) -> None:
    config = shown.config
    name = table(config, target, mart_schema(config, target), QUALITY_HISTORY)
    edits = [
        f"update {name} set rows_rejected = 7 where run_id = 'r1'",
        (
            f"insert into {name} (run_id, business_date, mode, sequence, reason, rows_rejected)"
            f" values ('r1', date '{D1}', 'append', 1, 'price_format', 1)"
        ),
        f"delete from {name} where run_id = 'r1'",
    ]
    change(config, target, f"create table {copy_of(name)} as select * from {name}")
    for sql in edits if target is PG else edits[-1:]:
        change(config, target, sql)
        assert failed(shown, (target,)) == {
            f"{target}: quality_history and loads": "quality_history has other rows of run r1 than "
            "it should"
        }
    restore = f"insert into {name} select * from {copy_of(name)}"
    change(config, target, f"delete from {name} where true", restore)
    assert failed(shown, (target,)) == {}


def test_warehouses_that_differ_are_found(
    shown: Shown, plant: Callable[[Target, str], None]
) -> None:
    plant(BQ, EDITS[UNREAD][0])
    assert AUGUST in failed(shown)["postgres and bigquery"]


def test_files_of_an_export_that_are_not_the_published_are_found(shown: Shown) -> None:
    folder = shown.lake / "export"
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    csv, manifest = folder / "summary_sales.csv", folder / "manifest.json"
    try:
        csv.write_bytes(b"")
        assert failed(shown, POSTGRES) == {
            "export: files": "summary_sales.csv is not what the manifest says"
        }
        csv.unlink()
        assert failed(shown, POSTGRES) == {"export: files": "summary_sales.csv is missing"}
        csv.write_bytes(kept[csv])
        said = json.loads(kept[manifest])
        manifest.write_text(json.dumps({**said, "run_id": "r1"}))
        assert failed(shown, POSTGRES) == {
            "export: publication": "the export is of run r1, published is r2"
        }
        said["files"][0]["sha256"] = "0" * 64
        manifest.write_text(json.dumps(said))
        assert set(failed(shown, POSTGRES)) == {"export: files", "export: publication"}
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def test_a_role_that_only_reads_is_enough(shown: Shown) -> None:
    config = shown.config
    schemas = {schema for schema, _ in published_tables(config, PG).values()}
    role = f"reader_{raw_schema(config)}"
    change(config, PG, f"create role {role} login password 'only-reads'")
    for schema in schemas:
        change(
            config,
            PG,
            f'grant usage on schema "{schema}" to {role}',
            f'grant select on all tables in schema "{schema}" to {role}',
        )
    settings = config.data_warehouse.postgres.model_copy(
        update={
            "user": role,
            "password": SecretStr("only-reads"),
        }
    )
    warehouse = config.data_warehouse.model_copy(update={"postgres": settings})
    reader = config.model_copy(update={"data_warehouse": warehouse})
    try:
        assert verify(reader, POSTGRES, lake=str(shown.lake)).exit_code == 0
    finally:
        change(config, PG, f"drop owned by {role}", f"drop role {role}")


# --- a story of one warehouse after the other


def test_a_full_refresh_is_the_way_out_and_an_older_publication_is_taken_over(
    config: Config, lake: Path
) -> None:
    target = PG
    alone = (target,)
    first = sealed_run(config, lake, "r1", DAY_1, mode=Mode.APPEND)
    publish(config, taken(config, first, alone), alone)
    shown = Shown(config, lake, first)
    names = tables(config, target)
    publications = table(config, target, raw_schema(config), PUBLICATIONS)

    # As version 0.1 left it: no slices are recorded, and the table has no column for them.
    slices = table(config, target, raw_schema(config), PUBLISHED_SLICES)
    change(
        config,
        target,
        f"drop table {slices}",
        f"alter table {publications} drop column slices",
    )
    publish(config, first, alone)
    assert failed(shown, alone) == {}
    edit = f"update {names['sales_by_date']} set total_amount = 9.00 where sale_date = date '{D1}'"
    change(config, target, edit)
    assert set(failed(shown, alone)) == {f"{target}: marts with each other"}
    with pytest.raises(MartsChangedError, match="sales_by_date has"):
        publish(config, first, alone)

    # A later day does not hide it, and shows nothing of its own.
    second = sealed_run(config, lake, "r2", DAY_2, business_date=D2, mode=Mode.APPEND)
    taken(config, second, alone)
    with pytest.raises(MartsChangedError, match=r"for 2023-10, \w+: 4 rows, amount 38"):
        publish(config, second, alone)
    assert ask(config, target, f"select count(*) from {names['fact']}") == [(3,)]

    # All of it from raw: the same again, and then nothing is left to say.
    history = table(config, target, mart_schema(config, target), QUALITY_HISTORY)
    change(config, target, f"delete from {history} where run_id = 'r1'")
    assert f"{target}: quality_history and loads" in failed(shown, alone)
    for _ in range(2):
        taken(config, second, alone, full_refresh=True)
        record = publish(config, second, alone)
        assert record.rows[target][fact_table(target)] == 5
        assert failed(shown, alone) == {}
    taken(config, second, alone)
    assert publish(config, second, alone).rows == record.rows  # pyright: ignore[reportPossiblyUnboundVariable]

    # Next marts that somebody changes after `reconcile`.
    third = sealed_run(config, lake, "r3", [row("T9", D3)], business_date=D3, mode=Mode.APPEND)
    taken(config, third, alone)
    following = next_table(config, target, "fact_sales")
    change(config, target, f"update {following} set amount = amount + 1 where true")
    with pytest.raises(MartsChangedError, match=r"not what was reconciled: .* for 2023-10-03"):
        publish(config, third, alone)
    change(config, target, f"update {following} set amount = amount - 1 where true")
    assert publish(config, third, alone).rows[target][fact_table(target)] == 6
    assert failed(shown, alone) == {}


@pytest.fixture
def other(schemas: Schemas) -> Generator[Config]:
    with schemas.config() as lent:
        yield lent


def test_two_configurations_do_not_write_one_export(
    config: Config, other: Config, lake: Path, tmp_path: Path
) -> None:
    configs = [only(config, PG), only(other, PG)]
    runs: list[RunFolder] = []
    for number, each in enumerate(configs):
        run = taken(each, sealed_run(each, lake, f"r{number}", [row("T1", D1)]), POSTGRES)
        publish(each, run, POSTGRES)
        runs.append(run)
    export(configs[0], runs[0])
    folder = lake / "export"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigurationError, match="holds an export of postgres") as raised:
        export(configs[1], runs[1])
    assert "data_mart.export" in raised.value.remedy
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    export(configs[0], runs[0])  # its own place stays its own
    export(configs[1], runs[1], str(tmp_path / "other"))

    # A manifest of version 0.1 names no warehouse, and is taken over by whoever comes first.
    manifest: dict[str, Any] = json.loads(kept["manifest.json"])
    named = manifest.pop("warehouses")
    assert set(named) == {"postgres", "bigquery"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert export(configs[1], runs[1]).run_id == "r1"
    with pytest.raises(ConfigurationError):
        export(configs[0], runs[0])
