"""Returns, a currency, dimensions, decimal quantities and line totals, in every warehouse."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import groupby, product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sales_mart.errors import DataError, ReconciliationError
from sales_mart.lake.records import Mode
from sales_mart.marts import fact
from sales_mart.report.figures import Figures
from sales_mart.rows.sums import Sums
from sales_mart.steps import pipeline
from sales_mart.steps.export import export
from sales_mart.steps.load import load
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.report_figures import collect
from sales_mart.steps.summary import published_summary
from sales_mart.steps.transform import transform
from sales_mart.steps.verify import verify
from sales_mart.warehouses.admission import LoadOptions
from sales_mart.warehouses.base import names, open_warehouse
from support import sealed_columns
from warehouses import ask, change, next_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

TARGETS = names()
D1, D2, D3 = "2023-10-01", "2023-10-02", "2023-11-03"
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "store": {"dimension": True},
    # A word that SQL keeps for itself.
    "order": {"dimension": True},
    "total_amount": {"type": "integer"},
    "paid_in": {"role": "currency"},
}


class Sale(NamedTuple):
    """One valid row as `validate` leaves it."""

    transaction_id: str
    product: str
    price: Decimal
    quantity: Decimal
    amount: Decimal
    sale_date: date
    store: str | None = None
    order: str | None = None
    paid_in: str | None = None

    @property
    def is_return(self) -> bool:
        return self.amount < 0

    @property
    def sale_month(self) -> date:
        return self.sale_date.replace(day=1)


def rounded(value: Decimal, places: int = 2) -> Decimal:
    with localcontext(prec=60):
        return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def configured(config: Config, **changes: Any) -> Config:
    said = config.model_dump(by_alias=True, exclude_defaults=True)
    said["ingestion"] = {"attributes": ATTRIBUTES} | changes
    return config.model_validate(said)


def with_returns(config: Config, **changes: Any) -> Config:
    rules = {"allow_returns": True, "quantity_decimals": 3, "min_price": "0.50"}
    return configured(config, validation=rules, **changes)


# --- what the marts must hold, in plain Python


def measures(rows: Sequence[Sale]) -> dict[str, Any]:
    sold = [each for each in rows if not each.is_return]
    returned = [each for each in rows if each.is_return]
    gross = sum((each.amount for each in sold), Decimal(0))
    pieces = sum((each.quantity for each in sold), Decimal(0))
    back = -sum((each.amount for each in returned), Decimal(0))
    back_pieces = sum((abs(each.quantity) for each in returned), Decimal(0))
    prices = sum((each.price for each in sold), Decimal(0))
    return {
        "total_amount": gross - back,
        "total_quantity": pieces - back_pieces,
        "transaction_count": len(sold),
        "avg_price": rounded(prices / len(sold)) if sold else None,
        "returned_amount": back,
        "returned_quantity": back_pieces,
    }


def grouped(
    rows: Iterable[Sale], key: Callable[[Sale], tuple[Any, ...]]
) -> dict[tuple[Any, ...], list[Sale]]:
    groups: dict[tuple[Any, ...], list[Sale]] = defaultdict(list)
    for each in rows:
        groups[key(each)].append(each)
    return groups


_SUMS = ("total_amount", "total_quantity", "transaction_count")
_BACK = ("returned_amount", "returned_quantity")
GRAINS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sales_by_date": (("sale_date", "paid_in"), (*_SUMS, "avg_price", *_BACK)),
    "sales_by_product": (("product", "paid_in"), (*_SUMS, "avg_price", *_BACK)),
    "summary_sales": (
        ("product", "sale_month", "paid_in"),
        ("total_amount", "avg_price", "transaction_count", *_BACK),
    ),
}
DIMENSION = ("dimension", "value", "sale_month", "paid_in")


def expected(rows: Sequence[Sale]) -> dict[str, set[tuple[Any, ...]]]:
    """Return the rows of each mart, grain first, then the measures as its columns have them."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for name, (grain, columns) in GRAINS.items():
        groups = grouped(rows, lambda sale, grain=grain: tuple(getattr(sale, k) for k in grain))
        found[name] = {
            (*key, *(measures(group)[column] for column in columns))
            for key, group in groups.items()
        }
    found["sales_by_dimension"] = {
        (*key, *(measures(group)[column] for column in (*_SUMS, *_BACK)))
        for name in ("store", "order")
        for key, group in grouped(
            rows, lambda sale, name=name: (name, getattr(sale, name), sale.sale_month, sale.paid_in)
        ).items()
    }
    return found


def columns_of(name: str) -> tuple[str, ...]:
    return (*DIMENSION, *_SUMS, *_BACK) if name == "sales_by_dimension" else sum(GRAINS[name], ())


def shown(config: Config, target: str) -> dict[str, set[tuple[Any, ...]]]:
    """Return the published marts in their own order of columns, which is what is checked too."""
    warehouse = open_warehouse(config, target)
    found: dict[str, set[tuple[Any, ...]]] = {}
    for mart in warehouse.marts:
        if mart.name in {*GRAINS, "sales_by_dimension"}:
            assert tuple(each.name for each in mart.columns) == columns_of(mart.name)
            listed = ", ".join(warehouse.dialect.identifier(each.name) for each in mart.columns)
            rows = ask(config, target, f"select {listed} from {warehouse.live(mart)}")
            assert len(rows) == len(set(rows))
            found[mart.name] = set(rows)
    return found


# --- runs


def total(rows: Sequence[Sale]) -> Sums:
    result = measures(rows)
    return Sums(len(rows), result["total_amount"], result["total_quantity"])


def sealed(
    config: Config, lake: Path, run_id: str, rows: Sequence[Sale], **options: Any
) -> RunFolder:
    columns: dict[str, list[Any]] = {
        name: [getattr(each, name) for each in rows] for name in Sale._fields
    }
    outside = options.pop("outside", ())
    for name, values in columns.items():
        values.extend(getattr(each, name) for each in outside)
    return sealed_columns(config, lake, run_id, columns, total(rows), **options)


def published(config: Config, run: RunFolder, options: LoadOptions | None = None) -> None:
    for target in TARGETS:
        load(config, run, target, options)
    transform(config, run, TARGETS)
    reconcile(config, run, TARGETS)
    publish(config, run, TARGETS)


def some_sales(seed: int, first: str, *, decimals: int = 3, prefix: str = "T") -> list[Sale]:
    """Make sales, returns of each form, and gifts, on days around a change of months."""
    chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets
    rows: list[Sale] = []
    for number in range(120):
        price = Decimal(chance.randint(50, 9999)).scaleb(-2)
        quantity = Decimal(chance.randint(1, 5 * 10**decimals)).scaleb(-decimals)
        form = chance.choice(("sale", "sale", "sale", "pieces back", "money back", "gift"))
        if form == "pieces back":
            quantity = -quantity
        elif form == "money back":
            price = -price
        elif form == "gift":
            price = Decimal("0.00")
        rows.append(
            Sale(
                f"{prefix}{seed}-{number}",
                chance.choice(("Tea", "Ink", "Only returned" if "back" in form else "Mouse")),
                price,
                quantity,
                rounded(price * quantity),
                date.fromisoformat(first) + timedelta(chance.choice((0, 0, 1, 27, 33))),
                chance.choice(("Berlin", "O'Hare \\ {{ 1 }}", None)),
                chance.choice(("web", "till", None)),
                chance.choice(("EUR", "USD", None)),
            )
        )
    # Half a cent goes away from zero, on either side; a product that was returned only.
    for number, sign in enumerate((1, -1)):
        quantity = sign * Decimal("0.500")
        half = Sale(
            f"{prefix}{seed}-half-{number}",
            "Half",
            Decimal("1.01"),
            quantity,
            sign * Decimal("0.51"),
            date.fromisoformat(first),
        )
        rows.append(half)
    return rows


def checked(
    config: Config, lake: Path, rows: Sequence[Sale], targets: Sequence[str] = TARGETS
) -> None:
    for target in targets:
        found = shown(config, target)
        for name, wanted in expected(rows).items():
            assert found[name] == wanted, (target, name)
    result = verify(config, targets, lake=str(lake))
    assert [each for each in result.checks if each.status == "failed"] == []
    # What is exported is in one order, rows without a currency too.
    exported: list[list[tuple[Any, ...]]] = []
    for target in targets:
        with published_summary(config, target) as (_, summary):
            exported.append(list(summary))
    assert exported == [exported[0]] * len(targets)


def test_returns_currencies_and_dimensions_are_right_in_every_warehouse(
    config: Config, tmp_path: Path
) -> None:
    config, lake = with_returns(config), tmp_path / "lake"
    first, second = some_sales(1, D1), some_sales(2, D2)
    outside = [
        first[0]._replace(transaction_id="zero", quantity=Decimal(0), amount=Decimal(0)),
        first[0]._replace(transaction_id="many", quantity=Decimal("-100.001"), amount=Decimal(-9)),
        first[0]._replace(
            transaction_id="low",
            price=Decimal("0.49"),
            quantity=Decimal(1),
            amount=Decimal("0.49"),
        ),
    ]
    published(config, sealed(config, lake, "r1", first, outside=outside))
    checked(config, lake, first)

    # A batch: only the months of its window are built anew.
    run = sealed(config, lake, "r2", second, business_date=D2, mode=Mode.APPEND)
    for target in TARGETS:
        load(config, run, target)
    transform(config, run, TARGETS)
    where = next_table(config, TARGETS[-1], "sales_by_dimension")
    more = "set returned_quantity = returned_quantity {} where value is null"
    change(config, TARGETS[-1], f"update {where} {more.format('+ 7')}")
    with pytest.raises(ReconciliationError, match="sales_by_dimension"):
        reconcile(config, run, TARGETS)
    change(config, TARGETS[-1], f"update {where} {more.format('- 7')}")
    agreed = reconcile(config, run, TARGETS)
    assert (
        agreed.quantity
        == total(
            [each for each in (*first, *second) if each.sale_date in {s.sale_date for s in second}]
        ).quantity
    )
    publish(config, run, TARGETS)
    rows = [*first, *second]
    checked(config, lake, rows)

    export(config, run, str(tmp_path / "export"))
    exported = json.loads((tmp_path / "export/summary_sales.json").read_text(), parse_float=Decimal)
    names_of = columns_of("summary_sales")
    assert [tuple(each) for each in exported] == [names_of] * len(exported)
    as_exported = {
        tuple(value.isoformat() if isinstance(value, date) else value for value in each)
        for each in expected(rows)["summary_sales"]
    }
    assert {tuple(each.values()) for each in exported} == as_exported
    lines = list(csv.reader((tmp_path / "export/summary_sales.csv").read_text().splitlines()))
    assert len(lines) == 1 + len(as_exported)
    reported(config, run, rows)
    result = verify(config, TARGETS, lake=str(lake), destination=str(tmp_path / "export"))
    assert [each for each in result.checks if each.status != "ok"] == []

    # A dimension that somebody changes.
    target = "duckdb"
    marts = {mart.name: mart for mart in open_warehouse(config, target).marts}
    live = open_warehouse(config, target).live(marts["sales_by_dimension"])
    change(config, target, f"update {live} set total_amount = 0 where dimension = 'order'")
    failed = [each for each in verify(config, [target]).checks if each.status == "failed"]
    assert [each.name for each in failed] == [
        "duckdb: marts and their publication",
        "duckdb: marts with each other",
    ]
    assert all("sales_by_dimension has" in each.message for each in failed)


def reported(config: Config, run: RunFolder, rows: Sequence[Sale]) -> None:
    """See that each warehouse gives a report the same figures, and the right ones."""
    figures = run.read("report", Figures)
    for target in TARGETS:
        with open_warehouse(config, target).session() as session:
            assert collect(config, run, session) == figures, target
    assert {
        each.currency: (each.amount, each.pieces, each.transactions, each.returned_amount)
        for each in figures.totals
    } == {
        currency: (*[measures(some)[name] for name in _SUMS], measures(some)["returned_amount"])
        for (currency,), some in grouped(rows, lambda each: (each.paid_in,)).items()
    }
    # The day of the batch is in October: its month is the newest that is not in the future.
    october = [each for each in rows if each.sale_month == date(2023, 10, 1)]
    best: dict[tuple[Any, ...], Decimal] = {}
    for key, some in grouped(october, lambda each: (each.paid_in, each.product)).items():
        best[key] = measures(some)["total_amount"]
    assert {(each.currency, each.name): each.amount for each in figures.products} == best
    for name in ("store", "order"):
        found = [each for each in figures.dimensions if each.dimension == name]
        assert {(each.currency, each.name): each.amount for each in found} == {
            key: measures(some)["total_amount"]
            for key, some in grouped(
                october, lambda each, name=name: (each.paid_in, getattr(each, name))
            ).items()
        }
    for shown in (figures.products, figures.dimensions):
        for _, group in groupby(shown, lambda each: (each.dimension, each.currency)):
            amounts = [each.amount for each in group]
            assert amounts == sorted(amounts, reverse=True)


def test_a_file_with_returns_comes_out_right(config: Config, tmp_path: Path) -> None:
    targets = ["duckdb"]
    config = with_returns(
        config,
        columns={"product": "Item", "quantity": "Pieces"},
        format={"delimiter": ";", "decimal_separator": ",", "null_values": ["-"]},
    )
    rows = some_sales(7, D1)
    with (tmp_path / "sales.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(("transaction_id", "Item", "price", "Pieces", "date", *ATTRIBUTES))
        for each in rows:
            numbers = (str(number).replace(".", ",") for number in (each.price, each.quantity))
            values = (each.store or "-", each.order or "", "", each.paid_in or "-")
            writer.writerow((each.transaction_id, each.product, *numbers, each.sale_date, *values))
    done = pipeline.run(
        config,
        str(tmp_path / "lake"),
        source=str(tmp_path / "sales.csv"),
        business_date=date.fromisoformat(D1),
        targets=targets,
    )
    assert done.rows is not None
    assert (done.rows.rows_valid, done.rows.rows_excluded) == (len(rows), 0)
    assert done.agreement is not None
    assert done.agreement.sums(len(rows)) == total(rows)
    checked(config, tmp_path / "lake", rows, targets)


LINE_TOTALS = [
    # The price is rounded, the amount is what the file says.
    Sale("A", "Tea", Decimal("3.33"), Decimal(3), Decimal("10.00"), date(2023, 10, 1)),
    Sale("B", "Tea", Decimal("66.67"), Decimal(3), Decimal("200.01"), date(2023, 10, 2)),
    # Exactly the lowest price, which has more decimals than an amount.
    Sale("C", "Ink", Decimal("0.51"), Decimal(2), Decimal("1.01"), date(2023, 10, 2)),
]
BELOW = [
    Sale("D", "Ink", Decimal("0.50"), Decimal(2), Decimal("1.00"), date(2023, 10, 2)),
    Sale("E", "Ink", Decimal("1.00"), Decimal(101), Decimal("101.00"), date(2023, 10, 2)),
]
BACK = [
    Sale("F", "Tea", Decimal("3.33"), Decimal(-3), Decimal("-10.00"), date(2023, 10, 1)),
    Sale("G", "Back", Decimal("-0.10"), Decimal(1), Decimal("-0.10"), date(2023, 11, 1)),
    Sale("H", "Gift", Decimal("0.00"), Decimal(1), Decimal("0.00"), date(2023, 11, 1)),
]


def test_line_totals_stand_as_they_are(config: Config, tmp_path: Path) -> None:
    config = configured(
        config,
        attributes={},
        columns={"amount": {"from": "Line total"}},
        validation={"allow_returns": True, "min_price": "0.505"},
    )
    rows = [*LINE_TOTALS, *BACK]
    published(config, sealed(config, tmp_path / "lake", "r1", rows, outside=BELOW))
    grain = ("product", "sale_month")
    columns = ("total_amount", "avg_price", "transaction_count", *_BACK)
    groups = grouped(rows, lambda sale: (sale.product, sale.sale_month))
    wanted = {
        (*key, *(measures(group)[column] for column in columns)) for key, group in groups.items()
    }
    for target in TARGETS:
        warehouse = open_warehouse(config, target)
        marts = {mart.name: mart for mart in warehouse.marts}
        assert "sales_by_dimension" not in marts
        summary = marts["summary_sales"]
        assert tuple(each.name for each in summary.columns) == (*grain, *columns)
        live = warehouse.live(summary)
        assert set(ask(config, target, f"select * from {live}")) == wanted, target
        facts = ask(
            config, target, f"select amount, price from {warehouse.live(fact(marts.values()))}"
        )
        assert sorted(facts) == sorted((each.amount, each.price) for each in rows)


PRICES = ("-5", "0", "0.01", "0.49", "0.50", "0.51", "3")
QUANTITIES = ("-101", "-100", "-1", "-0.001", "0", "0.001", "0.5", "1", "100", "100.001")
AMOUNTS = ("-7", "0", "0.25", "0.50", "49.99", "50")
TOTAL = {"amount": {"from": "Total"}}


def file_of_all_forms(path: Path, columns: dict[str, Sequence[str]]) -> None:
    """Write a row for each combination of numbers."""
    lines = [",".join(("transaction_id", "product", "date", *columns))]
    lines += [
        ",".join((f"T{number}", "Tea", D1, *numbers))
        for number, numbers in enumerate(product(*columns.values()))
    ]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize(
    ("mapped", "columns"),
    [
        ({}, {"price": PRICES, "quantity": QUANTITIES}),
        (TOTAL, {"quantity": QUANTITIES, "Total": AMOUNTS}),
        (TOTAL | {"price": "price"}, {"price": PRICES, "quantity": QUANTITIES, "Total": AMOUNTS}),
    ],
    ids=["no line total", "no price", "both"],
)
def test_the_marts_keep_the_rules_that_validate_leaves_to_them(
    config: Config,
    tmp_path: Path,
    mapped: dict[str, Any],
    columns: dict[str, Sequence[str]],
    *,
    returns: bool,
) -> None:
    """`reconcile` compares what validate counted as shown with what the marts show."""
    config = configured(
        config,
        trust_input=True,
        attributes={},
        columns=mapped,
        validation={"allow_returns": returns, "quantity_decimals": 3, "min_price": "0.50"},
    )
    file_of_all_forms(tmp_path / "sales.csv", columns)
    done = pipeline.run(
        config,
        str(tmp_path / "lake"),
        source=str(tmp_path / "sales.csv"),
        business_date=date.fromisoformat(D1),
        targets=["postgres"],
    )
    assert done.rows is not None
    assert done.rows.rows_excluded
    assert done.agreement is not None
    assert done.agreement.rows == done.rows.rows_valid - done.rows.rows_excluded > 5


def test_weights_come_out_to_the_last_digit(config: Config, tmp_path: Path) -> None:
    """Without returns, and so without a copy of the dbt project."""
    places, weights = 9, 6
    rules = {"max_decimals": places, "quantity_decimals": weights}
    config = configured(config, attributes={}, validation=rules)
    chance = random.Random(places)  # noqa: S311 - for variety, not for secrets
    sold = [
        *((Decimal("1.01"), Decimal("0.5")), (Decimal("0.03"), Decimal("0.5"))),
        *(
            (Decimal(1).scaleb(-places), Decimal(1).scaleb(-weights)),
            (Decimal("9.99"), Decimal(100)),
        ),
        *(
            (
                Decimal(chance.randint(1, 10**6)).scaleb(-places),
                Decimal(chance.randint(1, 99 * 10**weights)).scaleb(-weights),
            )
            for _ in range(60)
        ),
    ]
    rows = [
        Sale(
            f"W{number}",
            chance.choice(("Tea", "Ink")),
            price,
            quantity,
            rounded(price * quantity, places),
            date(2023, 10, 1) + timedelta(chance.randint(0, 40)),
        )
        for number, (price, quantity) in enumerate(sold)
    ]
    outside = [
        rows[0]._replace(transaction_id="none", quantity=Decimal(0), amount=Decimal(0)),
        rows[0]._replace(transaction_id="many", quantity=Decimal("100.1"), amount=Decimal(101)),
    ]
    published(config, sealed(config, tmp_path / "lake", "r1", rows, outside=outside))
    columns = (*_SUMS, "avg_price")
    wanted = {
        (*key, *(measures(group)[column] for column in columns))
        for key, group in grouped(rows, lambda sale: (sale.product,)).items()
    }
    for target in TARGETS:
        warehouse = open_warehouse(config, target)
        by_product = next(each for each in warehouse.marts if each.name == "sales_by_product")
        assert tuple(each.name for each in by_product.columns) == ("product", *columns)
        found = ask(config, target, f"select * from {warehouse.live(by_product)}")
        assert set(found) == wanted, target


def test_a_currency_is_not_switched_on_over_rows_without_one(
    config: Config, tmp_path: Path
) -> None:
    lake, target = tmp_path / "lake", "postgres"
    said = config.model_dump(by_alias=True, exclude_defaults=True)
    attributes = {"paid_in": {"role": "currency"}}
    other = config.model_validate(said | {"ingestion": {"attributes": attributes}})

    def append(run_id: str, day: str, by: Config, options: LoadOptions | None = None) -> None:
        sale = Sale(run_id, "Tea", Decimal(1), Decimal(1), Decimal(1), date(2023, 10, 1))
        columns = {name: [getattr(sale, name)] for name in Sale._fields}
        run = sealed_columns(
            by,
            lake,
            run_id,
            columns | {"quantity": [1]},
            Sums(1, Decimal(1), 1),
            business_date=day,
            mode=Mode.APPEND,
        )
        load(by, run, target, options)

    append("a", D1, config)
    append("b", D2, config)
    with pytest.raises(DataError, match=rf"paid_in as the currency.* none: {D1}, {D2}") as caught:
        append("c", D3, other)
    assert caught.value.details["days"] == [D1, D2]
    # The day itself is loaded again; the other one is not.
    with pytest.raises(DataError, match=rf"none: {D2}$"):
        append("d", D1, other)
    append("d", D1, other, LoadOptions(accept_new_rules=True))
    append("e", D2, other)
    append("f", D3, other)
    with pytest.raises(DataError, match=rf"no column as the currency.*paid_in: {D1}, {D2}"):
        append("g", D3, config)
