"""Frames into tables of every warehouse and back: equal to the digit, all at once, or refused."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import polars.selectors as cs
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, DataError, SalesMartError
from sales_mart.facade.tables import load, read
from sales_mart.warehouses.base import names, open_warehouse
from support import open_folder
from targets import Target
from warehouses import fresh_config

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.servers.local import LocalServers

ROWS = 6


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    whole = st.integers(-most, most) | st.sampled_from((most, -most, 0, 1))
    return whole.map(lambda units: Decimal((units < 0, tuple(map(int, str(abs(units)))), -scale)))


_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_ODD = ("", " ", "'", '"', "\\", "\\N", "e\u0301")
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - without a zone
KINDS: dict[str, tuple[Any, st.SearchStrategy[Any], Any]] = {
    "words": (
        pl.String(),
        _TEXTS | st.sampled_from(("", " ", "'", '"', "\\", "\\N", "e\u0301")),
        None,
    ),
    "category": (pl.Categorical(), st.sampled_from(("a", "b")), pl.String()),
    "tiny": (pl.Int8(), st.integers(-(2**7), 2**7 - 1), pl.Int64()),
    "big": (pl.Int64(), st.integers(-(2**63), 2**63 - 1), None),
    "unsigned": (pl.UInt64(), st.integers(0, 2**64 - 1), pl.Decimal(20, 0)),
    "money": (pl.Decimal(18, 2), _decimals(18, 2), None),
    "exact": (pl.Decimal(38, 9), _decimals(38, 9), None),
    "fine": (pl.Decimal(38, 18), _decimals(38, 18), None),
    "float": (pl.Float64(), st.floats(width=64), None),
    "single": (pl.Float32(), st.floats(width=32), pl.Float64()),
    "flag": (pl.Boolean(), st.booleans(), None),
    "day": (pl.Date(), st.dates(), None),
    "moment": (pl.Datetime("us"), _MOMENTS, None),
    "zoned": (
        pl.Datetime("us", "Asia/Jakarta"),
        _MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
        pl.Datetime("us", "UTC"),
    ),
    "clock": (pl.Time(), st.times(), None),
    "raw": (pl.Binary(), st.binary(max_size=12), None),
    "nothing": (pl.Null(), st.none(), pl.String()),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Draw a frame with a column of every kind, nulls and extremes in it."""
    count = draw(st.integers(0, ROWS))
    columns = [pl.Series("n", list(range(count)), dtype=pl.Int64)]
    for name, (dtype, values, _) in KINDS.items():
        drawn = draw(st.lists(st.none() | values, min_size=count, max_size=count))
        columns.append(pl.Series(name, drawn, dtype=dtype))
    return pl.DataFrame(columns)


# The stand-in for BigQuery forgets precision and scale of a column, and its BIGNUMERIC has no room
# for whole digits.
STAND_IN_SCALE = pl.Decimal(38, 9)
NOT_IN_STAND_IN = ("fine",)


def given_to(target: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out what only the stand-in of a warehouse does not take."""
    return frame.drop(NOT_IN_STAND_IN) if target == Target.BIGQUERY else frame


def as_read(target: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Give the frame in the types of a table that is made for it."""
    kinds = {name: kind for name, (_, _, kind) in KINDS.items() if kind is not None}
    made = frame.with_columns(pl.col(name).cast(kind) for name, kind in kinds.items())
    return as_typed(target, made)


def as_typed(target: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Give decimals the digits that the stand-in for BigQuery gives them."""
    if target != Target.BIGQUERY:
        return frame
    return frame.with_columns(cs.decimal().cast(STAND_IN_SCALE))


@pytest.fixture(scope="session")
def places(servers: LocalServers) -> Generator[Config]:
    """Give a configuration of every warehouse, with files of its own."""
    with open_folder() as folder:
        config = fresh_config(servers)
        duckdb = {"path": str(Path(folder) / "tables.duckdb")}
        tree = servers.settings()
        tree["data_warehouse"] |= {"duckdb": duckdb, "project_id": config.data_warehouse.project_id}
        yield Config.model_validate(tree)


@pytest.fixture
def table() -> str:
    """Give a name that no other test has."""
    return f"own_{uuid.uuid4().hex[:12]}.orders"


@pytest.mark.parametrize("target", names())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=frames(), second=frames())
def test_what_is_loaded_is_read(
    places: Config, target: str, first: pl.DataFrame, second: pl.DataFrame
) -> None:
    first, second = given_to(target, first), given_to(target, second)
    name = f"round_{target}.t_{uuid.uuid4().hex[:12]}"
    done = load(first, target, table=name, config=places)
    assert (done.rows, done.created, done.table) == (first.height, True, name)
    assert_frame_equal(found(places, target, name), as_read(target, first))
    assert not load(second, target, table=name, config=places).created
    assert_frame_equal(found(places, target, name), as_read(target, second))


def found(config: Config, target: str, table: str, by: str = "n") -> pl.DataFrame:
    return read(target, table=table, config=config).sort(by)


@pytest.mark.parametrize("target", names())
def test_append_grows_rows_and_columns(places: Config, target: str, table: str) -> None:
    load([{"n": 1, "a": "x"}], target, table=table, config=places)
    more = pl.DataFrame({"n": [2], "b": [Decimal("1.50")]}, {"n": pl.Int64, "b": pl.Decimal(9, 2)})
    done = load(more, target, table=table, mode="append", config=places)
    assert done.added_columns == ("b",)
    assert found(places, target, table).to_dicts() == [
        {"n": 1, "a": "x", "b": None},
        {"n": 2, "a": None, "b": Decimal("1.50")},
    ]
    load([{"n": 3, "c": True}], target, table=table, config=places)
    assert found(places, target, table).to_dicts() == [{"n": 3, "a": None, "b": None, "c": True}]


CLASHES: list[tuple[dict[str, Any], str]] = [
    ({"n": "one"}, "column n of .* is .*, the frame holds text"),
    ({"n": 1, "amount": "1.50"}, "column amount"),
    ({"n": 1, "amount": Decimal("1.505")}, "column amount holds a value that does not fit"),
    ({"n": 1, "amount": 10**17}, "column amount holds a value that does not fit"),
    ({"n": 1, "N": 2}, "differ in upper and lower case only"),
    ({"n": 1, "a b": 2}, "'a b' is not a column's name"),
    ({"N": 1}, "has a column n, the frame has N"),
    ({"n": 1, "parts": [1, 2]}, "column parts is of type List"),
    ({"n": 1, "took": timedelta(1)}, "column took is of type Duration"),
]


@pytest.mark.parametrize("target", names())
def test_what_clashes_is_refused_and_changes_nothing(
    places: Config, target: str, table: str
) -> None:
    load(
        pl.DataFrame(
            {"n": [1], "amount": [Decimal("2.50")]}, schema_overrides={"amount": pl.Decimal(10, 2)}
        ),
        target,
        table=table,
        config=places,
    )
    for row, said in CLASHES:
        if target == Target.BIGQUERY and "does not fit" in said:
            continue  # see STAND_IN_SCALE
        with pytest.raises((ConfigurationError, DataError), match=said) as caught:
            load([row], target, table=table, config=places)
        assert caught.value.remedy
        assert found(places, target, table).to_dicts() == [{"n": 1, "amount": Decimal("2.50")}]
    load([{"n": 2, "amount": 7}], target, table=table, config=places)
    assert found(places, target, table).to_dicts() == [{"n": 2, "amount": Decimal("7.00")}]


@pytest.mark.parametrize("target", names())
def test_a_value_that_fails_late_changes_nothing(places: Config, target: str, table: str) -> None:
    load([{"n": 1}], target, table=table, config=places)
    late = pl.DataFrame(
        {"n": range(70_000), "t": [None] * 69_999 + [1]}, schema={"n": pl.Int64, "t": pl.Int64}
    ).with_columns(pl.col("t").cast(pl.Datetime("ns")))
    with pytest.raises(DataError, match="column t holds a time that is finer"):
        load(late, target, table=table, config=places)
    assert found(places, target, table).to_dicts() == [{"n": 1}]


@pytest.mark.parametrize("target", names())
def test_files_and_lazy_frames_are_loaded_piece_by_piece(
    places: Config, target: str, table: str, tmp_path: Path
) -> None:
    frame = pl.DataFrame({"n": range(70_000)}).with_columns(
        (pl.col("n") * 3).cast(pl.Decimal(12, 3)).alias("x")
    )
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    wanted = as_typed(target, frame)
    for data in (str(path), frame.lazy()):
        assert load(data, target, table=table, config=places).rows == frame.height
        assert_frame_equal(found(places, target, table), wanted)


@pytest.mark.parametrize("target", names())
def test_the_pipelines_tables_are_not_touched(places: Config, target: str) -> None:
    warehouse = open_warehouse(places, target)
    for name in (
        f"{warehouse.raw_schema}.mine",
        f"{warehouse.next_schema}.mine",
        f"{warehouse.mart_schema}.summary_sales",
        f"{warehouse.mart_schema}.Summary_Sales",
    ):
        with pytest.raises(ConfigurationError, match="is the pipeline's own"):
            load([{"n": 1}], target, table=name, config=places)


def test_addresses_name_the_warehouse(
    servers: LocalServers,
    bigquery_server: str,
    table: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the environment says is of another server.
    monkeypatch.setenv("POSTGRES_USER", "somebody")
    monkeypatch.setenv("POSTGRES_PASSWORD", "else")
    url = servers.postgres_url
    assert url is not None
    with_password = url.partition("?")[0].replace(
        "postgres@", f"postgres:{servers.postgres_password}@"
    )
    dataset = table.partition(".")[0]
    for address, name in (
        (url, table),
        (with_password, table),
        (with_password.replace("postgresql:", "postgresql+psycopg:"), table),
        (f"bigquery://test-project/{dataset}?api_endpoint={bigquery_server}", "orders"),
        (f"duckdb:///{tmp_path}/a file.duckdb", "orders"),
    ):
        load([{"n": 1}], address, table=name)
        assert read(address, table=name, output="mappings") == [{"n": 1}]
    wrong = with_password.replace(servers.postgres_password, "hunter2hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load([{"n": 1}], wrong, table=table)
    assert "hunter2" not in f"{caught.value}{caught.value.remedy}{caught.value.details}"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("oracle://scott:tiger@db/x", "of no warehouse"),
        ("postgres:tiger", "neither an address nor the name"),
        ("postgre", "did you mean postgres?"),
        ("postgresql://me:tiger@h:port/x", "port"),
        ("postgresql://me:tiger@h/x?options=-ctiger", "holds options"),
        ("postgresql://me:tiger@h/x?tiger", "cannot be read"),
        ("bigquery://p/d?tiger=1", "holds tiger"),
        ("duckdb://", "names no DuckDB file"),
        (Config(), "names 2 warehouses"),
    ],
)
def test_a_wrong_place_is_refused_without_its_password(to: str | Config, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load([{"n": 1}], to, table="orders")
    assert caught.value.remedy
    assert "tiger" not in f"{caught.value}{caught.value.remedy}".replace("holds tiger", "")


@pytest.mark.parametrize("name", ["", "a.b.c", "a-b", "x;drop", "1a", 'a"b', "a" * 64])
def test_a_name_that_is_none_is_refused(places: Config, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the name of a table"):
        load([{"n": 1}], "duckdb", table=name, config=places)


@pytest.mark.parametrize("target", names())
def test_a_table_that_is_missing_is_said_to_be(places: Config, target: str, table: str) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no table {table}"):
        read(target, table=table, config=places)


def test_postgres_refuses_what_it_cannot_hold(places: Config, table: str) -> None:
    with pytest.raises(DataError, match="column a holds a text with a NUL"):
        load([{"a": "x\0y"}], "postgres", table=table, config=places)
    with pytest.raises(SalesMartError, match="there is no table"):
        read("postgres", table=table, config=places)


@pytest.fixture
def database(postgres_server: str) -> Generator[Callable[[str], None]]:
    """Give what runs statements as the owner of the database."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield lambda sql: connection.execute(sql.encode()) and None


def test_a_table_of_somebody_else_is_refused(
    places: Config, table: str, database: Callable[[str], None]
) -> None:
    role = f"other_{uuid.uuid4().hex[:8]}"
    load([{"n": 1}], "postgres", table=table, config=places)
    database(f"create role {role}")
    database(f"alter table {table} owner to {role}")
    with pytest.raises(ConfigurationError, match=f"orders belongs to {role}"):
        load([{"n": 2}], "postgres", table=table, config=places)
    database(f"alter table {table} owner to postgres")
    database(f"drop role {role}")


def test_a_table_with_a_trigger_is_refused(
    places: Config, table: str, database: Callable[[str], None]
) -> None:
    load([{"n": 1}], "postgres", table=table, config=places)
    database(
        f"create trigger trap before update on {table} for each row "
        "execute function suppress_redundant_updates_trigger()"
    )
    with pytest.raises(ConfigurationError, match="has a trigger"):
        load([{"n": 2}], "postgres", table=table, config=places)


def test_readers_see_the_former_rows_until_the_last_is_in(
    places: Config, table: str, postgres_server: str
) -> None:
    load([{"n": 1}], "postgres", table=table, config=places)
    seen: list[int] = []

    def count(rows: pl.Series) -> pl.Series:
        with psycopg.connect(postgres_server) as reader:
            row = reader.execute(f"select sum(n) from {table}".encode()).fetchone()
            assert row is not None
            seen.append(row[0])
        return rows

    lazy = pl.LazyFrame({"n": [5, 6]}).with_columns(
        pl.col("n").map_batches(count, return_dtype=pl.Int64)
    )
    load(lazy, "postgres", table=table, config=places)
    assert seen
    assert set(seen) == {1}
    assert found(places, "postgres", table)["n"].to_list() == [5, 6]


def test_a_numeric_of_any_scale_takes_what_comes(
    places: Config, table: str, database: Callable[[str], None]
) -> None:
    load([{"n": 1}], "postgres", table=table, config=places)
    database(f"alter table {table} add column x numeric, add column kept uuid")
    load(
        [{"n": 1, "x": Decimal("1.5")}, {"n": 2, "x": None}, {"n": 3, "x": Decimal("2.25")}],
        "postgres",
        table=table,
        config=places,
    )
    load([{"n": 4, "x": 7}], "postgres", table=table, mode="append", config=places)
    frame = found(places, "postgres", table)
    assert frame["x"].to_list() == [Decimal("1.50"), None, Decimal("2.25"), Decimal(7)]
    assert frame["kept"].dtype == pl.String


@pytest.mark.parametrize("clock", [time(23, 59, 59, 999999)])
@pytest.mark.parametrize("target", names())
def test_tables_of_ones_own_keep_their_types(
    places: Config, target: str, table: str, clock: time
) -> None:
    load([{"n": 1, "t": clock, "d": date(9999, 12, 31)}], target, table=table, config=places)
    frame = pl.DataFrame(
        {"n": [2], "t": [clock], "d": [date(1, 1, 1)]}, schema_overrides={"n": pl.Int16}
    )
    load(frame, target, table=table, mode="append", config=places)
    assert found(places, target, table)["n"].dtype == pl.Int64
