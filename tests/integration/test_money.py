"""Money to the last decimal: Python, PostgreSQL and BigQuery agree, and no difference hides."""

from __future__ import annotations

import os
import random
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sales_mart.errors import ReconciliationError
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform, transform_sql
from sales_mart.warehouses.postgres import connection as postgres
from support import Row, sealed_run, token
from targets import Target
from warehouses import BOTH, POSTGRES, Schemas, ask, change, loaded, next_table, raw_table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

EXACT = Context(prec=200)
PLACES = [int(text) for text in os.environ.get("MONEY_PLACES", "2,9").split(",")]
"""Decimals to try; fewer than 9 with PostgreSQL only: the stand-in for BigQuery divides as a
float, so means of more than 13 digits are not BigQuery's there."""
HIGHEST = 10**9
"""The largest quantity that the rules here allow."""
FIRST = date(2023, 1, 1)
DAYS = 40
"""Days with rows of their own, one for each difference to plant."""


def price(units: int, places: int) -> Decimal:
    return Decimal(units).scaleb(-places, EXACT)


def rows_for(places: int) -> list[Row]:
    """Return the extremes of the types, means at and around half a cent, and random rows."""
    chance = random.Random(places)  # noqa: S311 - for variety, not for secrets
    top, cent = 10**18 - 1, max(1, 10**places // 100)
    sold: list[tuple[str, int, int]] = [
        *(("top", top, 10**9), ("top and low", top, 1), ("top and low", 1, 1), ("low", 1, 1)),
        *(("low and many", 1, 10**9), ("tops", top, 1), ("tops", top, 1), ("tops", top - 1, 1)),
    ]
    for third in range(3):  # means that end in …5, a little less, and a little more
        sold += [(f"half {third}", cent * 11, 1), (f"half {third}", cent * 12, 1)]
        sold += [
            (f"half {third}", cent * 23, 1),
            (f"half {third}", cent * 0 + cent + third - 1 or 1, 1),
        ]
    sold += [("thirds", cent * 10, 1), ("thirds", cent * 10, 2), ("thirds", cent * 11, 3)]
    for number in range(120):
        units = chance.choice((chance.randint(1, 10**4), chance.randint(1, top)))
        sold.append((f"random {number % 17}", units, chance.choice((1, 3, 999, 10**9))))
    rows = [
        Row(f"M{number}", name, price(units, places), quantity, date(2022, 5, 1 + number % 30))
        for number, (name, units, quantity) in enumerate(sold)
    ]
    for day in range(DAYS):
        for n in range(3):
            units, sold_on = cent * (1000 + 7 * n), FIRST + timedelta(day)
            rows.append(Row(f"D{day}-{n}", f"P{n}", price(units, places), 2 + n, sold_on))
    return rows


def targets(config: Config) -> tuple[Target, ...]:
    return BOTH if config.rules.max_decimals == 9 else POSTGRES


@pytest.fixture(scope="module", params=PLACES)
def built(
    schemas: Schemas, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Generator[tuple[Config, RunFolder, list[Row]]]:
    with schemas.config(max_decimals=request.param, max_quantity=HIGHEST) as config:
        rows = rows_for(request.param)
        sealed = sealed_run(config, tmp_path_factory.mktemp("lake"), "r1", rows)
        run = loaded(config, sealed, targets(config))
        transform(config, run, targets(config))
        yield config, run, rows


def measures(rows: Sequence[Row]) -> tuple[Decimal, int, Decimal]:
    """Return total_amount, transaction_count and avg_price, worked out by hand."""
    amount = total = Decimal(0)
    for each in rows:
        assert each.price is not None
        amount = EXACT.add(amount, EXACT.multiply(each.price, Decimal(each.quantity or 0)))
        total = EXACT.add(total, each.price)
    mean = EXACT.divide(total, Decimal(len(rows)))
    return amount, len(rows), mean.quantize(Decimal("0.01"), ROUND_HALF_UP, EXACT)


def by_product(row: Row) -> tuple[Any, ...]:
    return (row.product,)


def by_date(row: Row) -> tuple[Any, ...]:
    return (row.sale_date,)


def by_product_and_month(row: Row) -> tuple[Any, ...]:
    return row.product, row.sale_date.replace(day=1)


KEYS = {
    "sales_by_product": ("product", by_product),
    "sales_by_date": ("sale_date", by_date),
    "summary_sales": ("product, sale_month", by_product_and_month),
}


def grouped(rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    groups: dict[Any, list[Row]] = {}
    for each in rows:
        groups.setdefault(key(each), []).append(each)
    return sorted((*group, *measures(members)) for group, members in groups.items())


@pytest.mark.parametrize("target", BOTH)
def test_every_sum_and_mean_is_what_decimal_arithmetic_gives(
    built: tuple[Config, RunFolder, list[Row]], target: Target
) -> None:
    config, _, rows = built
    if target not in targets(config):
        pytest.skip("the stand-in server has no exact means of this size")
    columns = "total_amount, transaction_count, avg_price"
    for name, (key_columns, key) in KEYS.items():
        table = next_table(config, target, name)
        assert sorted(ask(config, target, f"select {key_columns}, {columns} from {table}")) == (
            grouped(rows, key)
        )
    facts = ask(
        config,
        target,
        f"select transaction_id, amount from {next_table(config, target, 'fact_sales')}",
    )
    assert dict(facts) == {
        token(r.transaction_id): EXACT.multiply(r.price or Decimal(0), Decimal(r.quantity or 0))
        for r in rows
    }


# --- any rows


@st.composite
def near_half(draw: st.DrawFn, places: int) -> list[int]:
    """Draw prices whose mean is half a cent beyond a cent, or misses it by less than any price."""
    count = draw(st.integers(1, 7))
    unit = 10**places
    # The larger the mean, the fewer decimals PostgreSQL gives a quotient.
    digits = draw(st.integers(0, 18 - places) | st.just(18 - places))
    odd = 2 * draw(st.integers(5, 99)) * 10**digits + 1
    shift = max(1, unit // 200)
    shifts = draw(st.lists(st.integers(-shift, shift), min_size=count - 1, max_size=count - 1))
    prices = [odd * unit // 200 + each for each in shifts]
    return [*prices, count * odd * unit // 200 + draw(st.integers(-1, 1)) - sum(prices)]


@st.composite
def sold(draw: st.DrawFn, places: int) -> list[Row]:
    """Draw rows of few products and months, with any mean or one that is hard to round."""
    days = st.sampled_from([date(2022, 5, 1), date(2022, 5, 31), date(2022, 6, 1)])
    quantities = st.integers(1, 9) | st.just(HIGHEST)
    units = st.integers(1, 10**4) | st.integers(1, 10**18 - 1)
    drawn = [("any", each, draw(days)) for each in draw(st.lists(units, max_size=9))]
    for number, prices in enumerate(draw(st.lists(near_half(places), min_size=1, max_size=5))):
        day = draw(days)
        drawn += [(f"near {number}", each, day) for each in prices]
    return [
        Row(f"H{number}", product, price(each, places), draw(quantities), day)
        for number, (product, each, day) in enumerate(drawn)
    ]


@pytest.fixture(scope="module")
def statements(built: tuple[Config, RunFolder, list[Row]]) -> list[tuple[str, str]]:
    """Return table and statement of the marts, each after those that it reads."""
    config, _, _ = built
    models = transform_sql(config, Target.POSTGRES)
    marts = ("fact_sales", "sales_by_product_month", *KEYS)
    return [(next_table(config, Target.POSTGRES, name), models[name]) for name in marts]


def test_any_sum_and_mean_is_what_decimal_arithmetic_gives(
    built: tuple[Config, RunFolder, list[Row]], statements: list[tuple[str, str]]
) -> None:
    """The statements of the marts, over rows that nobody chose, in a transaction that is undone."""
    config, _, _ = built
    raw = raw_table(config, Target.POSTGRES)

    @settings(
        max_examples=100,
        deadline=None,
        phases=[each for each in Phase if each is not Phase.explain],
    )
    @given(sold(config.rules.max_decimals))
    def check(rows: list[Row]) -> None:
        with postgres.connect(config) as connection, connection.cursor() as cursor:
            cursor.execute(f"delete from {raw}".encode())
            cursor.executemany(
                f"insert into {raw} (transaction_id, product, price, quantity, sale_date,"
                " source_file, source_row, run_id, business_date)"
                " values (%s, %s, %s, %s, %s, 0, 1, 'any', date '2022-07-01')".encode(),
                [(token(each.transaction_id), *each[1:]) for each in rows],
            )
            for table, statement in statements:
                cursor.execute(f"delete from {table}".encode())
                cursor.execute(f"insert into {table} {statement}".encode())
            for name, (key_columns, key) in KEYS.items():
                table = next_table(config, Target.POSTGRES, name)
                columns = f"{key_columns}, total_amount, transaction_count, avg_price"
                found = cursor.execute(f"select {columns} from {table}".encode()).fetchall()
                assert sorted(found) == grouped(rows, key)
            connection.rollback()

    check()


def test_the_warehouses_reconcile(built: tuple[Config, RunFolder, list[Row]]) -> None:
    config, run, rows = built
    record = reconcile(config, run, targets(config))
    assert (record.rows, record.amount) == (len(rows), measures(rows)[0])


def planted(config: Config, target: Target) -> tuple[list[str], set[int]]:
    """Return statements that each change a day of one warehouse, and the days that they change."""
    fact = next_table(config, target, "fact_sales")
    places = config.rules.max_decimals
    last = f"cast('{price(1, places):f}' as numeric)"
    if target == Target.BIGQUERY:
        last = f"parse_numeric('{price(1, places):f}')"

    def row(day: int, n: int = 0) -> str:
        return f"transaction_id = '{token(f'D{day}-{n}')}'"

    one_row = (
        f"amount = amount + {last}",
        f"amount = amount - {last}",
        f"price = price + {last}",
        f"price = price - {last}",
        "quantity = quantity + 1",
        "quantity = quantity - 1",
        "product = concat(product, ' ')",
        "product = concat(' ', product)",
        "product = 'p0'",
        "product = 'P\u200b0'",
        "transaction_id = concat(substr(transaction_id, 1, 63), 'x')",
        "price = amount, amount = price",
        f"price = price + {last}, amount = amount - {last}",
    )
    statements = [f"update {fact} set {what} where {row(day)}" for day, what in enumerate(one_row)]
    day = len(one_row)
    statements.append(f"delete from {fact} where {row(day)}")
    columns = "transaction_id, product, price, quantity, amount, sale_date"
    statements.append(
        f"insert into {fact} ({columns}) select concat('f', substr(transaction_id, 2)), "
        f"{columns.partition(', ')[2]} from {fact} where {row(day + 1)}"
    )

    # A row of one day on the next one; then two rows that change places, so that no sum differs.
    def dated(number: int) -> str:
        return f"date '{FIRST + timedelta(number)}'"

    statements.append(f"update {fact} set sale_date = {dated(day + 3)} where {row(day + 2)}")
    swap = f"case sale_date when {dated(day + 4)} then {dated(day + 5)} else {dated(day + 4)} end"
    statements.append(
        f"update {fact} set sale_date = {swap} where {row(day + 4)} or {row(day + 5)}"
    )
    # Two rows of a day change a value with each other: only the checksum of rows can tell.
    for number, column in enumerate(("product", "quantity", "amount", "price"), start=day + 6):
        sides = [f"(select {column} from {fact} where {row(number, n)})" for n in (0, 1)]
        first, second = (ask(config, target, side[1:-1])[0][0] for side in sides)
        quoted = [f"'{value}'" if column == "product" else f"{value}" for value in (first, second)]
        if column in ("amount", "price") and target == Target.BIGQUERY:
            quoted = [f"parse_numeric('{value}')" for value in (first, second)]
        statements.append(
            f"update {fact} set {column} = case when {row(number)} then {quoted[1]} "
            f"else {quoted[0]} end where {row(number)} or {row(number, 1)}"
        )
    return statements, set(range(day + 10))


@pytest.mark.parametrize("target", BOTH)
def test_every_difference_is_found_wherever_it_is_planted(
    built: tuple[Config, RunFolder, list[Row]], target: Target
) -> None:
    """One difference a day, so that one comparison tells of each whether it was seen."""
    config, run, _ = built
    if len(targets(config)) == 1:
        pytest.skip("one warehouse has none to differ from")
    fact = next_table(config, target, "fact_sales")
    copy = f"{fact[:-1]}_copy{fact[-1]}"
    statements, days = planted(config, target)
    change(config, target, f"create table {copy} as select * from {fact}", *statements)
    try:
        with pytest.raises(ReconciliationError) as raised:
            reconcile(config, run, BOTH)
        found = raised.value.details["days"]
        assert isinstance(found, list)
        expected = {str(FIRST + timedelta(day)) for day in days}
        assert {report["day"] for report in found} == expected
        assert raised.value.details["differing"] == len(expected)
    finally:
        change(
            config,
            target,
            f"delete from {fact} where true",
            f"insert into {fact} select * from {copy}",
            f"drop table {copy}",
        )
    reconcile(config, run, BOTH)
