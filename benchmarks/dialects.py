"""(e) Ten columns in the plain form, and as a European spreadsheet writes the same rows."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.harness import Contestant
from benchmarks.validation import OURS, Counts, ours

NAMES = ("Order", "Line", "Item", "Price", "Pieces", "Date", "Store", "City", "Till", "Note")
_COLUMNS: dict[str, Any] = {
    "product": "Item",
    "price": "Price",
    "quantity": "Pieces",
    "date": "Date",
}
PLAIN: dict[str, Any] = {"columns": {**_COLUMNS, "transaction_id": "Order"}}
EUROPEAN: dict[str, Any] = {
    "format": {
        "delimiter": ";",
        "encoding": "cp1252",
        "decimal_separator": ",",
        "thousands": ".",
        "date_format": "%d.%m.%Y",
    },
    "columns": {**_COLUMNS, "transaction_id": ["Order", "Line"]},
}
CONTESTANTS = [
    Contestant(
        "plain: commas, UTF-8, one identifier",
        "dialects:plain",
        note="the same rows, rules and Parquet as below",
        imports=OURS,
    ),
    Contestant(
        "`;`, cp1252, decimal commas, composite identifier",
        "dialects:european",
        note="dates as dd.mm.yyyy besides",
        imports=OURS,
    ),
]


def make_files(folder: Path, rows: int) -> dict[str, str]:
    """Write the same rows in both forms; return the file of each."""
    dice = random.Random(7)  # noqa: S311 - the same rows each time
    places = {"plain": folder / "plain.csv", "european": folder / "european.csv"}
    with (
        places["plain"].open("w", encoding="utf-8") as plain,
        places["european"].open("w", encoding="cp1252") as european,
    ):
        plain.write(",".join(NAMES) + "\n")
        european.write(";".join(NAMES) + "\n")
        for number in range(rows):
            order, line = 1_000_000 + number // 3, number % 3 + 1
            cents, pieces = dice.randrange(100, 500_000), dice.randrange(1, 20)
            day = date(2024, 1, 1) + timedelta(days=dice.randrange(90))
            text = f"{cents // 100}.{cents % 100:02}"
            local = f"{cents / 100:,.2f}".translate(str.maketrans(",.", ".,"))
            rest = (f"Store {dice.randrange(40)}", "M\u00fcnchen", str(dice.randrange(9)), "-")
            item = f"Caf\u00e9 {dice.randrange(500)}"
            plain.write(
                ",".join((f"{order}-{line}", str(line), item, text, str(pieces), str(day), *rest))
                + "\n"
            )
            european.write(
                ";".join(
                    (str(order), str(line), item, local, str(pieces), f"{day:%d.%m.%Y}", *rest)
                )
                + "\n"
            )
    return {name: str(place) for name, place in places.items()}


def plain(files: dict[str, str], folder: str, **_: object) -> Counts:
    """Check the plain file."""
    return ours(files["plain"], {"ingestion": PLAIN}, folder)


def european(files: dict[str, str], folder: str, **_: object) -> Counts:
    """Check the European file."""
    return ours(files["european"], {"ingestion": EUROPEAN}, folder)
