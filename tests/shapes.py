"""Exports of real systems, read in plain Python: what the pipeline must make of them.

Nothing of sales_mart is used here: `csv` reads the files and `Decimal` adds up, each system by what
its documentation says, so that both ways agree only where both are right.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER = Path(__file__).parents[1] / "samples" / "shapes"
ZERO = Decimal(0)


class Sale(NamedTuple):
    """One line that counts."""

    product: str
    day: date
    amount: Decimal
    quantity: Decimal
    price: Decimal
    currency: str | None = None

    @property
    def is_return(self) -> bool:
        """Whether the customer got the money back."""
        return self.amount < 0

    @property
    def net_quantity(self) -> Decimal:
        """Pieces that the customer kept."""
        return -abs(self.quantity) if self.is_return else self.quantity


class Month(NamedTuple):
    """What one product comes to in one month and currency."""

    total_amount: Decimal
    avg_price: Decimal | None
    transaction_count: int
    returned_amount: Decimal
    returned_quantity: Decimal


@dataclass(frozen=True)
class Shape:
    """An export, and how plain Python reads it.

    Attributes:
        name: Folder of the file and its configuration.
        file: Name of the file.
        sales: Gives the lines that count.
        rows: Lines in the file, those that count and the others.
        reasons: Why the others do not count: reason -> lines.
    """

    name: str
    file: str
    sales: Callable[[Path], Iterator[Sale]]
    rows: int
    reasons: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def folder(self) -> Path:
        """Where the file and its configuration are."""
        return FOLDER / self.name

    def read(self) -> list[Sale]:
        """Return the lines that count."""
        return list(self.sales(self.folder / self.file))


def by_month(sales: Iterable[Sale]) -> dict[tuple[str, date, str | None], Month]:
    """Add up what the summary shows: by product, month and currency."""
    groups: dict[tuple[str, date, str | None], list[Sale]] = defaultdict(list)
    for sale in sales:
        groups[sale.product, sale.day.replace(day=1), sale.currency].append(sale)
    return {key: _month(group) for key, group in groups.items()}


def _month(group: list[Sale]) -> Month:
    sold = [sale for sale in group if not sale.is_return]
    returned = [sale for sale in group if sale.is_return]
    prices = sum((sale.price for sale in sold), ZERO)
    return Month(
        total_amount=sum((sale.amount for sale in group), ZERO),
        avg_price=_rounded(prices / len(sold), 2) if sold else None,
        transaction_count=len(sold),
        returned_amount=-sum((sale.amount for sale in returned), ZERO),
        returned_quantity=sum((abs(sale.quantity) for sale in returned), ZERO),
    )


def _rounded(number: Decimal, decimals: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _of_total(  # noqa: PLR0913 - what a line says
    product: str,
    day: date,
    amount: Decimal,
    quantity: Decimal,
    currency: str | None = None,
    decimals: int = 2,
) -> Sale:
    price = _rounded(amount / quantity, decimals)
    return Sale(product, day, amount, quantity, price, currency)


def _of_price(
    product: str, day: date, price: Decimal, quantity: Decimal, currency: str | None = None
) -> Sale:
    return Sale(product, day, price * quantity, quantity, price, currency)


def _lines(
    path: Path, encoding: str = "utf-8", delimiter: str = ",", skip: int = 0
) -> Iterator[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as file:
        for _ in range(skip):
            next(file)
        for row in csv.DictReader(file, delimiter=delimiter, restval=""):
            yield {name: text.strip() for name, text in row.items()}


def _day(text: str, form: str) -> date:
    return datetime.strptime(text, form).date()  # noqa: DTZ007 - the day as it is written


def shopify(path: Path) -> Iterator[Sale]:
    """Take price times quantity of each line."""
    for row in _lines(path):
        yield _of_price(
            row["Lineitem name"],
            date.fromisoformat(row["Created at"][:10]),
            Decimal(row["Lineitem price"]),
            Decimal(row["Lineitem quantity"]),
        )


def square(path: Path) -> Iterator[Sale]:
    """Take the net sales of each line."""
    for row in _lines(path):
        net = Decimal(row["Net Sales"].replace("$", "").replace(",", ""))
        quantity = Decimal(row["Qty"])
        yield _of_total(row["Item"], date.fromisoformat(row["Date"]), net, quantity)


def woocommerce(path: Path) -> Iterator[Sale]:
    """Take the total of each item of orders that were not called off."""
    for row in _lines(path, encoding="utf-8-sig"):
        if row["status"] in {"processing", "completed"}:
            yield _of_total(
                row["item_name"],
                date.fromisoformat(row["date"][:10]),
                _rounded(Decimal(row["item_total"]), 2),
                Decimal(row["item_quantity"]),
                row["order_currency"],
            )


def amazon_settlement(path: Path) -> Iterator[Sale]:
    """Take what customers paid for the products themselves."""
    header, *lines = path.read_text("utf-8").splitlines()
    for line in lines:
        row = defaultdict(str, zip(header.split("\t"), line.split("\t"), strict=False))
        if (row["amount-type"], row["amount-description"]) == ("ItemPrice", "Principal"):
            day = date.fromisoformat(row["posted-date"])
            yield _of_total(row["sku"], day, Decimal(row["amount"]), Decimal(1))


def stripe(path: Path) -> Iterator[Sale]:
    """Take the payments that did not fail."""
    for row in _lines(path):
        if row["Status"] != "Failed":
            day = date.fromisoformat(row["Created (UTC)"][:10])
            price = Decimal(row["Amount"])
            yield _of_price("Payment", day, price, Decimal(1), row["Currency"])


def olist(path: Path) -> Iterator[Sale]:
    """Take the price of each piece of orders that were not called off."""
    for row in _lines(path):
        if row["order_status"] != "canceled":
            day = date.fromisoformat(row["order_purchase_timestamp"][:10])
            yield _of_price(row["product_id"], day, Decimal(row["price"]), Decimal(1))


def online_retail(path: Path) -> Iterator[Sale]:
    """Take unit price times quantity of each line, cancellations too."""
    for row in _lines(path, encoding="latin-1"):
        day = _day(row["InvoiceDate"], "%m/%d/%Y %H:%M")
        yield _of_price(row["StockCode"], day, Decimal(row["UnitPrice"]), Decimal(row["Quantity"]))


def superstore(path: Path) -> Iterator[Sale]:
    """Take the total of each line."""
    for row in _lines(path, encoding="cp1252"):
        yield _of_total(
            row["Product Name"],
            _day(row["Order Date"], "%m/%d/%Y"),
            Decimal(row["Sales"]),
            Decimal(row["Quantity"]),
            decimals=4,
        )


def supermarket(path: Path) -> Iterator[Sale]:
    """Take unit price times quantity, which the file has as `cogs` too."""
    for row in _lines(path):
        price, quantity = Decimal(row["Unit price"]), Decimal(row["Quantity"])
        assert price * quantity == Decimal(row["cogs"])
        yield _of_price(row["Product line"], _day(row["Date"], "%m/%d/%Y"), price, quantity)


def northwind(path: Path) -> Iterator[Sale]:
    """Take the extended price, which has the discount taken off."""
    for row in _lines(path):
        price, quantity = Decimal(row["UnitPrice"]), Decimal(row["Quantity"])
        total = Decimal(row["ExtendedPrice"])
        assert total == price * quantity * (1 - Decimal(row["Discount"]))
        yield Sale(
            row["ProductName"], date.fromisoformat(row["OrderDate"][:10]), total, quantity, price
        )


def german_till(path: Path) -> Iterator[Sale]:
    """Take the total of each line; the last line of the file has the same sum."""
    total = ZERO
    for row in _lines(path, encoding="cp1252", delimiter=";", skip=3):
        amount = _german(row["Gesamt"].removesuffix("€"))
        if row["Belegnr"] == "Summe":
            assert amount == total
            return
        total += amount
        day = _day(row["Datum"], "%d.%m.%Y")
        yield _of_total(row["Artikel"], day, amount, _german(row["Menge"]))


def _german(text: str) -> Decimal:
    return Decimal(text.strip().replace(".", "").replace(",", "."))


def sumup(path: Path) -> Iterator[Sale]:
    """Take the gross total of each line that says what was sold."""
    for row in _lines(path):
        if row["Description"]:
            yield _of_total(
                row["Description"],
                _day(row["Date"], "%d.%m.%y"),
                Decimal(row["Price (Gross)"]),
                Decimal(row["Quantity"]),
                row["Currency"],
            )


SHAPES = (
    Shape(
        "amazon_settlement",
        "18906543210.txt",
        amazon_settlement,
        29,
        {
            "amount_description_not_accepted": 21,
            "amount_type_not_accepted": 15,
            # The first line is the sum of the report; two fees are of no product.
            "missing_amount": 1,
            "missing_amount_description": 1,
            "missing_amount_type": 1,
            "missing_date": 1,
            "missing_product": 3,
        },
    ),
    Shape(
        "german_till",
        "Kassenbericht.csv",
        german_till,
        14,
        {
            "missing_date": 1,
            "missing_product": 1,
            "missing_quantity": 1,
            "missing_transaction_id": 1,
        },
    ),
    Shape("northwind", "Invoices.csv", northwind, 13),
    Shape("olist", "order_items_joined.csv", olist, 12, {"status_not_accepted": 1}),
    Shape("online_retail", "Online Retail.csv", online_retail, 15),
    Shape("shopify", "orders_export_1.csv", shopify, 14),
    Shape("square", "items-2024-01-01-2024-03-01.csv", square, 14),
    Shape("stripe", "unified_payments.csv", stripe, 13, {"status_not_accepted": 2}),
    Shape("sumup", "sales-report.csv", sumup, 12, {"missing_product": 1}),
    Shape("supermarket", "supermarket_sales - Sheet1.csv", supermarket, 12),
    Shape("superstore", "Superstore.csv", superstore, 12),
    Shape("woocommerce", "orders-2024-04-03.csv", woocommerce, 12, {"status_not_accepted": 4}),
)
